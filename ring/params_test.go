package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What String and Given write is read again; what cannot be placed is refused.
func TestParamsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Params{
			VirtualNodes: rapid.IntRange(0, maxVirtualNodes).Draw(t, "virtual nodes"), Copies: rapid.IntRange(0, 16).Draw(t, "copies"),
			Load: rapid.SampledFrom([]float64{0, 1, 1.1, 1.25, 3}).Draw(t, "load"),
		}
		given, err := ParseParams(p.Given())
		require.NoError(t, err)
		require.Equal(t, p, given)
		whole, err := ParseParams(p.String())
		require.NoError(t, err)
		require.Equal(t, p.withDefaults(), whole)
		later, err := ParseParams(p.Given() + " colour=blue")
		require.NoError(t, err)
		require.Equal(t, p, later, "what a later version adds")
	})
	for text, want := range map[string]string{
		"partitions=8":    `"partitions=8": 1024 are accepted`,
		"copies=many":     `"copies=many"`,
		"copies=-1":       "copies -1: at least 1 is accepted",
		"vnodes=9999":     "virtual nodes 9999: 1 to 1000 are accepted",
		"load=0.5":        "load 0.5",
		"load=NaN":        "load NaN",
		"vnodes=1 copies": `"copies"`,
	} {
		_, err := ParseParams(text)
		require.ErrorContains(t, err, want, text)
	}
}
