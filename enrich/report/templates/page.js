"use strict";
{
  const bar = document.getElementById("filter");
  const products = document.querySelectorAll("[data-facts]");
  const show = (fact, name) => {
    let shown = 0;
    for (const one of products) {
      one.hidden = Boolean(fact) && !one.dataset.facts.split(" ").includes(fact);
      shown += one.hidden ? 0 : 1;
    }
    bar.hidden = !fact;
    bar.querySelector("b").textContent = name;
    bar.querySelector("span").textContent = shown;
  };
  document.addEventListener("click", (event) => {
    const review = document.getElementById("review");
    if (review && event.target.closest('a[href="#review"]')) review.open = true;
    const link = event.target.closest("[data-fact]");
    if (!link) return;
    event.preventDefault();
    show(link.dataset.fact, link.dataset.name);
    const first = [...products].find((one) => !one.hidden);
    if (link.dataset.fact && first) first.closest("section").scrollIntoView();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show("", "");
  });
}
