package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/admin"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// clusterTimeout bounds how long one question about the whole cluster waits for a
// member: long beside an answer's milliseconds, short beside a page's patience.
const clusterTimeout = 500 * time.Millisecond

// adminCluster asks every node for its own figures.
func (n *Node) adminCluster(w http.ResponseWriter, r *http.Request) {
	view := n.View()
	a := admin.Cluster{
		Cluster: n.cfg.Cluster, Self: n.id.Name, Boot: n.id.Boot,
		Fingerprint: view.Table.Fingerprint(), Copies: n.cfg.Copies, Dev: n.cfg.Control != nil,
		Members: make([]admin.ClusterMember, len(view.Members)),
	}
	ctx, cancel := context.WithTimeout(r.Context(), clusterTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for i, m := range view.Members {
		a.Members[i].SeenMember = n.memberAnswer(view, m)
		if m.Up && (m.ID == n.id || m.Role == RoleNode) {
			asking.Go(func() { n.askStats(ctx, m.ID, &a.Members[i]) })
		}
	}
	asking.Wait()
	writeJSON(w, http.StatusOK, a)
}

func (n *Node) askStats(ctx context.Context, id ID, into *admin.ClusterMember) {
	stats, err := n.statsAt(ctx, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		into.Error = fmt.Sprintf("no answer within %v", clusterTimeout)
	case err != nil:
		into.Error = err.Error()
	default:
		into.Stats = &stats
	}
}

func (n *Node) statsAt(ctx context.Context, id ID) (stats admin.Stats, err error) {
	if id == n.id {
		return n.statsAnswer(), nil
	}
	err = n.askJSON(ctx, n.mesh.Link(id), mesh.TypeStats, nil, &stats)
	return stats, err
}

// eventsAt returns what a node has in its event log after an event.
func (n *Node) eventsAt(ctx context.Context, l *mesh.Link, after uint64) (list []events.Event, err error) {
	err = n.askJSON(ctx, l, mesh.TypeEvents, order.AppendUint64(nil, after), &list)
	return list, err
}

func (n *Node) askJSON(ctx context.Context, l *mesh.Link, typ byte, question []byte, into any) error {
	if l == nil {
		return mesh.ErrNoLink
	}
	b, err := l.Call(ctx, typ, question)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// serveEvents answers what operators' pages elsewhere want to know of this
// node's event log.
func (n *Node) serveEvents(question []byte) ([]byte, error) {
	if len(question) != 8 {
		return nil, fmt.Errorf("question for events of %d bytes: 8 are accepted", len(question))
	}
	return json.Marshal(n.events.Since(order.Uint64(question)))
}
