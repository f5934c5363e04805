"""What goods there are: how each is drawn, called and labelled, and how often it is sold."""

from dataclasses import dataclass

PALETTES: dict[str, dict[str, float]] = {
    "broad": {
        "black": 15, "blue": 15, "white": 11, "grey": 8, "red": 8, "green": 8, "pink": 7,
        "purple": 5, "brown": 4, "beige": 5, "yellow": 4.5, "orange": 4, "turquoise": 3,
        "multi": 4, "gold": 0.7, "silver": 0.7, "bronze": 0.3,
    },
    "leather": {
        "black": 34, "brown": 30, "beige": 7, "blue": 5, "white": 5, "red": 5, "grey": 5,
        "pink": 3, "purple": 2, "green": 3, "bronze": 2, "gold": 2, "silver": 2,
    },
    "metal": {
        "silver": 26, "gold": 24, "bronze": 13, "black": 12, "blue": 5, "white": 6, "brown": 6,
        "pink": 4, "red": 4,
    },
    "evening": {
        "black": 25, "gold": 14, "silver": 14, "red": 12, "blue": 9, "green": 6, "purple": 6,
        "pink": 8, "bronze": 4, "white": 4,
    },
    "denim": {"blue": 65, "black": 16, "grey": 12, "white": 4, "beige": 3},
    "office": {
        "white": 24, "blue": 30, "black": 12, "grey": 12, "pink": 6, "purple": 5, "beige": 5,
        "green": 3, "red": 3,
    },
}  # fmt: skip
PATTERN_PROFILES: dict[str, dict[str, float]] = {
    "tops": {"solid": 47, "printed": 28, "striped": 15, "colourblocked": 6, "textured": 4},
    "shirts": {"solid": 42, "checked": 30, "striped": 22, "printed": 6},
    "feminine": {
        "solid": 38, "printed": 30, "lace": 8, "embellished": 6, "striped": 8, "checked": 5,
        "textured": 5,
    },
    "ethnic": {"solid": 38, "printed": 36, "embellished": 20, "lace": 2, "striped": 4},
    "sequined": {"embellished": 1},
    "knits": {"solid": 38, "textured": 30, "striped": 24, "checked": 8},
    "denim": {"solid": 55, "washed": 45},
    "bottoms": {"solid": 76, "checked": 12, "washed": 6, "printed": 6},
    "sportswear": {"solid": 72, "colourblocked": 20, "printed": 8},
    "bags": {"solid": 60, "textured": 18, "printed": 17, "checked": 5},
}  # fmt: skip
# Only these patterns can show many colors at once.
MULTI_PATTERNS = frozenset({"checked", "colourblocked", "printed", "striped"})


@dataclass(frozen=True)
class Article:
    """A kind of goods in the shop: how it is drawn, called and labelled."""

    drawing: str
    names: tuple[str, ...]
    weight: float
    profile: str | None  # None: the shop gives no pattern (a watch)
    palette: str = "broad"
    style: str = "casual"
    genders: tuple[str, ...] = ("Men", "Women", "Unisex", "Boys", "Girls")


MEN, WOMEN = ("Men", "Men's", "Gents"), ("Women", "Women's", "Ladies")
ARTICLES = (
    Article("t-shirt", ("T-shirt", "Tshirt", "Tee", "Crew Tee"), 12, "tops"),
    Article("polo", ("Polo", "Polo T-shirt"), 5, "tops", genders=MEN),
    Article("shirt", ("Shirt", "Casual Shirt"), 9, "shirts", genders=(*MEN, "Women", "Boys")),
    Article("folded shirt", ("Shirt", "Slim Fit Shirt"), 3, "shirts", "office", genders=MEN),
    Article("shirt with tie", ("Formal Shirt",), 2, "shirts", "office", "formal", MEN),
    Article("folded shirt", ("Formal Shirt",), 1.5, "shirts", "office", "formal", MEN),
    Article("top", ("Top", "Blouse", "Camisole"), 7, "feminine", genders=WOMEN),
    Article("dress", ("Dress", "Day Dress", "Skater Dress"), 6, "feminine", genders=WOMEN),
    Article("skirt", ("Skirt", "Midi Skirt"), 3, "feminine", genders=WOMEN),
    Article("sweater", ("Sweater", "Pullover", "Jumper"), 4, "knits"),
    Article("jacket", ("Jacket", "Bomber"), 3.5, "bottoms", genders=(*MEN, *WOMEN)),
    Article("jeans", ("Jeans", "Denims"), 4, "denim", "denim", genders=(*MEN, *WOMEN)),
    Article("trousers", ("Trousers", "Pants"), 2.5, "bottoms", genders=(*MEN, *WOMEN)),
    Article("trousers", ("Chinos",), 2, "bottoms", style="smart casual", genders=MEN),
    Article("blazer", ("Blazer",), 1.3, "bottoms", "office", "smart casual", (*MEN, *WOMEN)),
    Article("shorts", ("Shorts",), 3, "bottoms"),
    Article("kurta", ("Kurta", "Kurti", "Tunic Kurta"), 6.5, "ethnic", style="ethnic"),
    Article("sari", ("Sari", "Saree"), 2.5, "ethnic", style="ethnic", genders=WOMEN),
    Article("scarf", ("Dupatta",), 1, "ethnic", style="ethnic", genders=WOMEN),
    Article("track jacket", ("Track Jacket", "Tracksuit Top"), 2.6, "sportswear", style="sports"),
    Article("track pants", ("Track Pants", "Joggers"), 2.6, "sportswear", style="sports"),
    Article("sneaker", ("Running Shoes", "Trainers", "Sports Shoes"), 7, None, style="sports"),
    Article("sneaker", ("Sneakers", "Casual Shoes"), 2.5, None),
    Article("cap", ("Cap", "Baseball Cap"), 3.5, None, style="sports"),
    Article("loafer", ("Loafers",), 1.2, None, "leather", "smart casual", MEN),
    Article(
        "formal shoe", ("Formal Shoes", "Oxfords", "Derbys"), 3.4, None, "leather", "formal", MEN
    ),
    Article("heel", ("Heels", "Pumps", "Sandals"), 3.2, None, "leather", genders=WOMEN),
    Article("flip flop", ("Flip Flops", "Slippers"), 3, None),
    Article("handbag", ("Handbag", "Tote", "Shoulder Bag"), 4, "bags", "leather", genders=WOMEN),
    Article("backpack", ("Backpack", "Rucksack"), 2.2, "bags"),
    Article("wallet", ("Wallet",), 2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("belt", ("Belt",), 2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("tie", ("Tie", "Necktie"), 1.2, "shirts", "office", "formal", MEN),
    Article("socks", ("Socks",), 1.5, "knits"),
    Article("scarf", ("Scarf", "Stole", "Muffler"), 1.6, "knits"),
    Article("watch", ("Watch", "Analogue Watch"), 4, None, "metal", genders=(*MEN, *WOMEN)),
    Article("sunglasses", ("Sunglasses", "Shades"), 2.2, None, "leather", genders=(*MEN, *WOMEN)),
    Article("earrings", ("Earrings", "Drop Earrings"), 2, None, "metal", genders=WOMEN),
    Article("bangle", ("Bangle", "Bracelet"), 1.3, None, "metal", genders=WOMEN),
    Article("clutch", ("Clutch", "Evening Clutch"), 2, None, "metal", "party", WOMEN),
    Article("dress", ("Party Dress", "Gown"), 1.8, "sequined", "evening", "party", WOMEN),
    Article("duffel", ("Duffel Bag", "Weekender"), 2, None, "leather", "travel", ("Unisex",)),
    Article(
        "trolley", ("Trolley Bag", "Cabin Suitcase"), 2, None, style="travel", genders=("Unisex",)
    ),
)
