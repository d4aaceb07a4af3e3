package member

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var releaseLine = regexp.MustCompile(`^v\d+\.\d+\.\d+  (\d+-\d+)  (\(this\)|[0-9a-f]{7,40})$`)

// checkReleases says which line is wrong of a file of releases: each states
// what it speaks, and the one that is being made speaks what this build does.
func checkReleases(text string) error {
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		columns := releaseLine.FindStringSubmatch(line)
		switch speaks := fmt.Sprintf("%d-%d", WireOldest, Wire); {
		case columns == nil:
			return fmt.Errorf("%q: version, wire range and commit are accepted", line)
		case columns[2] == "(this)" && columns[1] != speaks:
			return fmt.Errorf("%q: this build speaks %s", line, speaks)
		}
	}
	return nil
}

func TestReleasesStateWhatTheySpeak(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "RELEASES"))
	require.NoError(t, err)
	require.NoError(t, checkReleases(string(text)))

	require.NoError(t, checkReleases(fmt.Sprintf("# versions\nv0.1.0  1-4  0123abc\nv0.2.0  %d-%d  (this)\n", WireOldest, Wire)))
	require.ErrorContains(t, checkReleases("v0.2.0  0-1  (this)\n"), "this build speaks")
	for _, line := range []string{"v0.2  6-6  0123abc", "v0.2.0 6-6 0123abc", "v0.2.0  6  0123abc", "v0.2.0  6-6  main"} {
		require.ErrorContains(t, checkReleases(line), "are accepted", line)
	}
}
