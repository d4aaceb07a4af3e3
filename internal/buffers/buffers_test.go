package buffers

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTakeAndGive(t *testing.T) {
	b := New(100)
	require.True(t, b.Take(60))
	require.False(t, b.Take(41), "over the limit")
	require.Equal(t, int64(60), b.Used(), "what was refused is not counted")
	require.True(t, b.Take(40))
	b.Give(100)
	require.Zero(t, b.Used())
	require.Equal(t, int64(1), b.Refused())
	require.Equal(t, int64(100), b.Limit())
}

func TestNoLimit(t *testing.T) {
	var b Budget
	h := b.Open(func() { t.Error("evicted without a limit") })
	require.True(t, h.Take(1<<50))
	require.Equal(t, int64(1<<50), b.Used())
	h.Close()
	require.Zero(t, b.Used())
}

// The holder of most goes, and no other.
func TestTheLargestIsEvicted(t *testing.T) {
	b := New(100)
	var evicted []string
	open := func(name string) *Holder { return b.Open(func() { evicted = append(evicted, name) }) }
	small, large, other := open("small"), open("large"), open("other")
	require.True(t, small.Take(10))
	require.True(t, large.Take(60))
	require.True(t, other.Take(30))
	require.True(t, small.Take(5))
	require.Equal(t, []string{"large"}, evicted)
	require.Equal(t, int64(45), b.Used())
	require.Equal(t, int64(1), b.Evicted())
	require.Zero(t, b.Refused())

	require.False(t, large.Take(1), "an evicted holder gets nothing")
	large.Give(60) // its goroutine may not know yet
	large.Close()
	require.Equal(t, int64(45), b.Used(), "what was lent on is not given back twice")
	require.Equal(t, int64(15), small.Held())
}

// A holder that would hold most by what it asks for is refused, and keeps what
// it has.
func TestTheLargestIsRefused(t *testing.T) {
	b := New(100)
	never := func() { t.Error("evicted") }
	small, large := b.Open(never), b.Open(never)
	require.True(t, small.Take(40))
	require.True(t, large.Take(50))
	require.False(t, large.Take(20))
	require.Equal(t, int64(50), large.Held())
	require.True(t, large.Take(10), "there is room for so much")
	require.False(t, b.Open(never).Take(200), "no eviction makes room for more than there is")
	require.Equal(t, int64(2), b.Refused())
}

func TestNothingIsLost(t *testing.T) {
	b := New(1000)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 500 {
				h := b.Open(func() {})
				for range 4 {
					if h.Take(int64(50 * (i + 1))) {
						h.Give(int64(10 * i))
					}
				}
				h.Close()
			}
		})
	}
	group.Wait()
	require.Zero(t, b.Used())
	require.Empty(t, b.holders)
}
