package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// clusterTimeout bounds how long one question about the whole cluster waits for
// a member: long beside an answer's milliseconds, short beside a page's
// patience.
const clusterTimeout = 500 * time.Millisecond

// cluster asks every node for its own figures.
func (e *Endpoint) cluster(w http.ResponseWriter, r *http.Request) {
	view, cfg := e.cfg.View(), &e.cfg
	a := adminapi.Cluster{
		Cluster: cfg.Cluster, Self: cfg.Self.Name, Boot: cfg.Self.Boot,
		Fingerprint: view.Table.Fingerprint(), Copies: view.Target(), Uniform: view.Uniform, Dev: cfg.Control != nil,
		Missing: e.missing(), Members: make([]adminapi.ClusterMember, len(view.Members)),
	}
	a.SessionsLost, a.LostWith = cfg.Census.Lost()
	a.LostWith = orEmpty(a.LostWith)
	ctx, cancel := context.WithTimeout(r.Context(), clusterTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for i, m := range view.Members {
		a.Members[i].SeenMember = e.seen(view, m)
		if m.Up && (m.ID == cfg.Self || m.Role == member.RoleNode) {
			asking.Go(func() { e.askStats(ctx, m.ID, &a.Members[i]) })
		}
	}
	asking.Wait()
	writeJSON(w, http.StatusOK, a)
}

func (e *Endpoint) askStats(ctx context.Context, id member.ID, into *adminapi.ClusterMember) {
	stats, err := e.statsAt(ctx, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		into.Error = fmt.Sprintf("no answer within %v", clusterTimeout)
	case err != nil:
		into.Error = err.Error()
	default:
		into.Stats = &stats
	}
}

func (e *Endpoint) statsAt(ctx context.Context, id member.ID) (stats adminapi.Stats, err error) {
	if id == e.cfg.Self {
		return e.Stats(), nil
	}
	err = e.askJSON(ctx, id, mesh.TypeStats, nil, &stats)
	return stats, err
}

// askJSON asks a node a question that is answered in JSON.
func (e *Endpoint) askJSON(ctx context.Context, id member.ID, typ byte, question []byte, into any) error {
	b, err := e.cfg.Links.Ask(ctx, id, typ, question)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
