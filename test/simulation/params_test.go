package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/ring"
)

// TestParametersChangeInARollingRestart: the nodes are started anew one by one,
// and asked for another number of copies, or another bound on load. The cluster
// takes it when the last one is back; no session is missed meanwhile, and all are
// held by as many nodes as was asked for in the end.
func TestParametersChangeInARollingRestart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   node.PartitionMode
		copies int
		load   float64
		want   ring.Params
	}{
		"more copies":               {node.PartitionAvailable, 3, 0, ring.Params{VirtualNodes: 400, Load: 1.1, Copies: 3}},
		"fewer":                     {node.PartitionAvailable, 1, 0, ring.Params{VirtualNodes: 400, Load: 1.1, Copies: 1}},
		"another bound on load":     {node.PartitionAvailable, 2, 1.5, ring.Params{VirtualNodes: 400, Load: 1.5, Copies: 2}},
		"more copies, by majority":  {node.PartitionMajority, 3, 0, ring.Params{VirtualNodes: 400, Load: 1.1, Copies: 3}},
		"what there is, once again": {node.PartitionAvailable, 2, 0, ring.Params{VirtualNodes: 400, Load: 1.1, Copies: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := New(t, Options{Hosts: 4, Copies: 2, Mode: c.mode})
				cl.StartAll(4)
				require.NoError(t, cl.AwaitSettled(agreeWithin))
				time.Sleep(5 * time.Second)
				keys := fill(t, cl, 100)
				before := ring.Params{VirtualNodes: 400, Load: 1.1, Copies: 2}
				cl.options.Copies, cl.options.Load = c.copies, c.load
				for i, h := range cl.Hosts {
					require.NoError(t, h.Drain(t.Context()))
					require.NoError(t, h.Start())
					require.NoError(t, cl.AwaitSettled(agreeWithin))
					time.Sleep(5 * time.Second)
					require.NoError(t, cl.AwaitSettled(agreeWithin))
					for _, other := range cl.Hosts {
						n, _ := other.Node()
						want := before
						if i == len(cl.Hosts)-1 {
							want = c.want
						}
						require.Equal(t, want, n.View().Table.Params(), "%s, after %s", other.Name, h.Name)
						require.Zero(t, missing(t, n, keys), "at %s, after %s", other.Name, h.Name)
					}
				}
				for _, key := range keys {
					held := 0
					for _, h := range cl.Hosts {
						if n, _ := h.Node(); inspect.Of(n).Store.Peek(key) != nil {
							held++
						}
					}
					require.Equal(t, c.want.Copies, held, key)
				}
			})
		})
	}
}
