package alloctest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var sink *[64]byte

func TestFewest(t *testing.T) {
	require.Zero(t, Fewest(func() {}))
	require.Equal(t, 2.0, Fewest(func() {
		sink = new([64]byte)
		sink = new([64]byte)
	}))
	pools := make([]sync.Pool, 6) // under the race detector the mean is 1.5
	for i := range pools {
		pools[i].New = func() any { return new([64]byte) }
	}
	require.Zero(t, Fewest(func() {
		for i := range pools {
			pools[i].Put(pools[i].Get())
		}
	}))
}
