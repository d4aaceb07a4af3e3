package redis

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/REDIS.md names every command that a client may send, in its section on
// them.
func TestEveryCommandIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/REDIS.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Commands\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	named := make(map[string]bool)
	for _, word := range strings.FieldsFunc(section, func(r rune) bool { return strings.ContainsRune(" `|,:;().\n", r) }) {
		named[word] = true
	}
	for name := range entries() {
		if !named[strings.ToUpper(name)] {
			t.Errorf("%s is missing", strings.ToUpper(name))
		}
	}
}
