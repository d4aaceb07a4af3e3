package costtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGrown(t *testing.T) {
	require.False(t, grown(100, 100, 100_000))
	require.False(t, grown(100, 2400, 100_000), "a logarithm and caches")
	require.True(t, grown(20, 20_000, 100_000), "a square")
	require.False(t, grown(0.1, 10, 100_000), "1 ms for all")
}
