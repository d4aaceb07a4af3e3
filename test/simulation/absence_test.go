package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// hours lets so many hours go by on all hosts' clocks, in steps that are
// shorter than a tombstone lives: whoever runs and is in touch notes each. A
// node that is alone follows its host's clock after some minutes.
func (c *Cluster) hours(n int) {
	const step = 13
	for ; n > 0; n -= step {
		for _, h := range c.Hosts {
			h.Skew(time.Duration(h.offset.Load()) + step*time.Hour)
		}
		time.Sleep(6 * time.Minute)
	}
}

// TestAwayForADay: a holder of copies is frozen or cut off for longer than the
// end of a session is remembered. What was ended meanwhile, and confirmed, does
// not come back with it; what was not is still there, and what it acknowledged
// on its side of the cut is too.
func TestAwayForADay(t *testing.T) {
	t.Parallel()
	const month = 30 * 24 * time.Hour
	for name, away := range map[string]struct {
		frozen bool
		fresh  bool // right after a succession, when stamps are ahead of the clock
	}{"frozen": {frozen: true}, "cut off": {}, "frozen right after the start": {true, true}, "cut off right after the start": {fresh: true}} {
		t.Run(name, func(t *testing.T) {
			frozen := away.frozen
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3})
				c.StartAll(3)
				require.NoError(t, c.AwaitSettled(agreeWithin))
				here, _ := c.Hosts[0].Node()
				do := func(op session.Op) (session.Reply, error) {
					return here.Sessions().Do(t.Context(), &op, session.AckReplica)
				}
				var ended, kept []string
				for i := range 80 {
					key := fmt.Sprintf("{user-%d}", i)
					_, err := do(session.Op{Kind: session.Put, Key: key, Fields: fields(2), TTL: month})
					require.NoError(t, err)
					if i%2 == 0 {
						ended = append(ended, key)
					} else {
						kept = append(kept, key)
					}
				}
				if !away.fresh {
					time.Sleep(5 * time.Second)
				}
				away := c.Hosts[2]
				if frozen {
					away.Pause()
				}
				c.Cut(c.Hosts[:2], c.Hosts[2:])
				time.Sleep(2 * time.Minute)
				for _, key := range ended {
					_, err := do(session.Op{Kind: session.Delete, Key: key})
					require.NoError(t, err)
				}
				n, _ := away.Node()
				if !frozen {
					_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: "{island}", Fields: fields(3), TTL: month}, session.AckDefault)
					require.NoError(t, err)
					kept = append(kept, "{island}")
				}
				c.hours(26)
				require.Zero(t, inspect.Of(here).Store.Stats().Tombstones, "they are to be forgotten")
				c.Heal()
				away.Resume()
				_, err := c.Agree(agreeWithin)
				require.NoError(t, err)
				back := 0
				for _, key := range ended {
					if inspect.Of(n).Store.Peek(key) != nil || inspect.Of(here).Store.Peek(key) != nil {
						back++
					}
				}
				if back > 0 {
					t.Errorf("broken: %d of %d sessions are back that were ended while a holder was away", back, len(ended))
				}
				require.Zero(t, missing(t, here, kept))
				require.Zero(t, missing(t, n, kept))
				for _, key := range kept {
					holders := 0
					for _, h := range c.Hosts {
						n, _ := h.Node()
						if rec := inspect.Of(n).Store.Peek(key); rec != nil && !rec.Dead() {
							holders++
						}
					}
					require.Equal(t, len(here.View().Table.Holders(ring.Partition(key))), holders)
				}
			})
		})
	}
}

// TestAllAwayForADay: where each node was cut from all others, or all were
// frozen, nobody knows better than anybody else, and nothing is thrown away.
func TestAllAwayForADay(t *testing.T) {
	t.Parallel()
	for _, frozen := range []bool{true, false} {
		t.Run(map[bool]string{true: "frozen", false: "cut off"}[frozen], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3})
				c.StartAll(3)
				_, err := c.Agree(agreeWithin)
				require.NoError(t, err)
				here, _ := c.Hosts[0].Node()
				var kept []string
				for _, key := range fill(t, c, 100) {
					_, err := here.Sessions().Do(t.Context(), &session.Op{Kind: session.Put, Key: key, Fields: fields(2), TTL: 30 * 24 * time.Hour}, session.AckReplica)
					require.NoError(t, err)
					kept = append(kept, key)
				}
				time.Sleep(5 * time.Second)
				for i, h := range c.Hosts {
					c.Cut(c.Hosts[:i], c.Hosts[i:i+1])
					if frozen {
						h.Pause()
					}
				}
				c.hours(26)
				c.Heal()
				for _, h := range c.Hosts {
					h.Resume()
				}
				_, err = c.Agree(agreeWithin)
				require.NoError(t, err)
				require.Zero(t, missing(t, here, kept), "thrown away by all")
			})
		})
	}
}
