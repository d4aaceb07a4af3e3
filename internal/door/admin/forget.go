package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

// forget has a member that is missing expected no more, here and at every node
// that answers. The others hear of it from those.
func (e *Endpoint) forget(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if !member.ValidName(name) {
		problem.Write(w, http.StatusBadRequest, "bad-name", "No such name", fmt.Sprintf("name=%q: the name of a member is accepted, as /admin/cluster lists it under missing", name))
		return
	}
	sessions, err := e.cfg.Census.Forget(name)
	a := adminapi.Forget{Name: name, Sessions: sessions, Silent: []string{}}
	ctx, cancel := context.WithTimeout(r.Context(), clusterTimeout)
	defer cancel()
	var mu sync.Mutex // guards a and err
	var asking sync.WaitGroup
	for _, id := range e.cfg.Links.Heard() {
		asking.Go(func() {
			said, failed := e.forgetAt(ctx, id, name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case failed != nil:
				a.Silent = append(a.Silent, id.Name)
			case said.known:
				err = nil
				a.Sessions = max(a.Sessions, said.sessions)
			}
		})
	}
	asking.Wait()
	slices.Sort(a.Silent)
	switch {
	case errors.Is(err, census.ErrPresent):
		problem.Write(w, http.StatusConflict, "member-present", "The member takes part", fmt.Sprintf("%s is here, and nothing was lost with it: holdfast drain takes a node out of the ring", name))
	case err != nil:
		problem.Write(w, http.StatusConflict, "not-missing", "Nothing to forget", err.Error())
	default:
		writeJSON(w, http.StatusOK, a)
	}
}

// forgotten is what came of a request to forget a member:
//
//	u8 1 if there was something to forget | u32 sessions
type forgotten struct {
	known    bool
	sessions int
}

func (e *Endpoint) forgetAt(ctx context.Context, id member.ID, name string) (f forgotten, err error) {
	b, err := e.cfg.Links.Ask(ctx, id, mesh.TypeForget, []byte(name))
	if err != nil {
		return f, err
	}
	if len(b) != 5 || b[0] > 1 {
		return f, fmt.Errorf("answer of %d bytes to forget: 5 are accepted, 0 or 1 the first", len(b))
	}
	return forgotten{b[0] == 1, int(order.Uint32(b[1:]))}, nil
}

// ServeForget forgets a member here, for an endpoint elsewhere that asks with
// mesh.TypeForget.
func (e *Endpoint) ServeForget(question []byte) ([]byte, error) {
	name := string(question)
	if !member.ValidName(name) {
		return nil, fmt.Errorf("forget a name of %d bytes: the name of a member is accepted", len(question))
	}
	sessions, err := e.cfg.Census.Forget(name)
	known := byte(1)
	if err != nil {
		known = 0
	}
	return order.AppendUint32([]byte{known}, uint32(sessions)), nil
}
