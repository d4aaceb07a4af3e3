package ownership

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// A holder is behind if the owner was out of its reach alone, and who may have
// stood in for it is silent.
func TestBehindIsWhoTheOwnerDidNotReach(t *testing.T) {
	t.Parallel()
	owner, third := id("b", 1), id("c", 1)
	const now = time.Minute
	type reached []time.Duration // at these times
	steadily := func(from, to time.Duration) (at reached) {
		for ; from <= to; from += 200 * time.Millisecond {
			at = append(at, from)
		}
		return at
	}
	for name, c := range map[string]struct {
		owner, third reached
		ended        bool // the third node
		behind       bool
	}{
		"both until now":                        {owner: steadily(0, now), third: steadily(0, now)},
		"the owner has just ended":              {owner: steadily(0, now-time.Second), third: steadily(0, now)},
		"cut off from both":                     {owner: steadily(0, now-9*time.Second), third: steadily(0, now-9*time.Second)},
		"from the owner first":                  {owner: steadily(0, now-9*time.Second), third: steadily(0, now-8*time.Second), behind: true},
		"and the third has ended":               {owner: steadily(0, now-9*time.Second), third: steadily(0, now-8*time.Second), ended: true},
		"from the third first":                  {owner: steadily(0, now-8*time.Second), third: steadily(0, now-9*time.Second)},
		"from the owner for a while":            {owner: append(steadily(0, now-9*time.Second), steadily(now-7*time.Second, now-6*time.Second)...), third: steadily(0, now-6*time.Second), behind: true},
		"for a while, long before the end":      {owner: append(steadily(0, now-19*time.Second), steadily(now-17*time.Second, now-6*time.Second)...), third: steadily(0, now-6*time.Second)},
		"for a while, and the third is there":   {owner: append(steadily(0, now-9*time.Second), steadily(now-7*time.Second, now-6*time.Second)...), third: steadily(0, now)},
		"the owner was never reached from here": {third: steadily(0, now-8*time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.see(up("b", 1), up("c", 1))
			for who, at := range map[member.ID]reached{owner: c.owner, third: c.third} {
				for _, at := range at {
					n.Reached(at, who)
				}
			}
			if c.ended {
				n.see(up("b", 1), refused("c", 1))
			}
			require.Equal(t, c.behind, n.isBehind(now, owner))
			require.False(t, n.isBehind(now, n.self))
		})
	}
}

// What is known of contacts with a member that is gone stays for as long as
// somebody may claim what it served, and no longer.
func TestContactsAreForgotten(t *testing.T) {
	t.Parallel()
	n := still("a")
	n.see(up("b", 1), up("c", 1))
	n.Reached(1, id("b", 1))
	n.Reached(1, id("c", 1))
	n.setHolder(3, Claim{5, id("b", 1)})
	n.see()
	require.Contains(t, n.contacts, id("b", 1))
	require.NotContains(t, n.contacts, id("c", 1))
	n.setHolder(3, Claim{6, n.self})
	n.see()
	require.Empty(t, n.contacts)
}
