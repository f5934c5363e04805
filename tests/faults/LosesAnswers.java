import io.delta.storage.LocalLogStore;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;

/** A store that writes a run's commit, loses the answer, and on repetition finds the commit there. */
public class LosesAnswers extends LocalLogStore {
    public LosesAnswers(Configuration settings) {
        super(settings);
    }

    @Override
    public void write(Path file, Iterator<String> actions, Boolean overwrite, Configuration settings)
            throws IOException {
        List<String> lines = new ArrayList<>();
        actions.forEachRemaining(lines::add);
        super.write(file, lines.iterator(), overwrite, settings);
        if (lines.stream().anyMatch(line -> line.contains("\"userMetadata\""))) {
            System.err.println("lost answer of " + file);
            throw new FileAlreadyExistsException(file.toString());
        }
    }
}
