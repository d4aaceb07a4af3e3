package node

import (
	"context"

	"github.com/seed-95a32959/holdfast/internal/inspect"
)

func init() {
	inspect.Of = func(node any) inspect.Node {
		n := node.(*Node)
		return inspect.Node{
			Store: n.store, Owner: n.owner, Replicator: n.replicator, Repairer: n.repairer, Census: n.census, Wall: n.wall, Unfit: n.members.Unfit,
			Counters: n.counts.Values,
			Told: func(ctx context.Context) []string {
				n.cluster.Confirm(ctx)
				return n.cluster.Topology().Table.Members()
			},
		}
	}
}
