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

// Each release states what it speaks, and the one that is being made speaks
// what this build does.
func TestReleasesStateWhatTheySpeak(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "RELEASES"))
	require.NoError(t, err)
	columns := regexp.MustCompile(`^v\d+\.\d+\.\d+  (\d+-\d+)  (\(this\)|[0-9a-f]{7,40})$`)
	releases := 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		releases++
		columns := columns.FindStringSubmatch(line)
		require.NotNil(t, columns, line)
		if columns[2] == "(this)" {
			require.Equal(t, fmt.Sprintf("%d-%d", WireOldest, Wire), columns[1], line)
		}
	}
	require.Positive(t, releases)
}
