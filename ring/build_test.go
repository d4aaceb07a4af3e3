package ring

import (
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

// poorHash has so few values that points of the circle meet, which with 64
// bits no test would live to see.
func poorHash(b []byte) uint64 { return xxhash.Sum64(b) & 0xfff }

// The library panics when a member is taken out whose point met another's, so
// this test also shows that no member is.
func TestFirstSuccessorsAreRightThoughPointsCollide(t *testing.T) {
	for _, names := range [][]string{{"a", "b"}, {"a", "b", "c"}, {"a", "b", "c", "d", "e", "f"}} {
		b := builder{names: names, params: Params{}.withDefaults(), sum: poorHash}
		owners, next := b.place()
		for m := range names {
			rest := append(append([]string{}, names[:m]...), names[m+1:]...)
			after, _ := builder{names: rest, params: b.params, sum: poorHash}.place()
			for p := range Partitions {
				if owners[p] == m {
					require.Equal(t, rest[after[p]], names[next[p]], "first successor of partition %d without %s", p, names[m])
				}
			}
		}
	}
}

func TestCollisionsAreSeenAndOnlyThose(t *testing.T) {
	good := &watchedHash{sum: xxhash.Sum64, watching: true}
	poor := &watchedHash{sum: poorHash, watching: true}
	b := builder{names: []string{"a", "b", "c"}, params: Params{}.withDefaults()}
	b.circle(good, noMember)
	b.circle(poor, noMember)
	require.Len(t, good.given, 3*b.params.VirtualNodes+Partitions, "every point and every partition once")
	require.True(t, good.distinct())
	require.False(t, poor.distinct())

	b.circle(good, noMember)
	require.Empty(t, good.given, "the watch has ended")
}
