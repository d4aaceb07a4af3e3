package admin

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/problem"
)

// drain drains the node and stops it, and tells how it goes, a line of JSON
// each time something has changed. It goes on when the client leaves.
func (e *Endpoint) drain(w http.ResponseWriter, r *http.Request) {
	if !e.mayDrain(w, r) {
		return
	}
	out, enc := http.NewResponseController(w), json.NewEncoder(w)
	tell := func(line adminapi.Drain) {
		_ = enc.Encode(line) // fails only when the client has left
		_ = out.Flush()
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusAccepted)
	lines := make(chan drain.Status, 1)
	ended := e.cfg.Node.Drain.Start(func(now drain.Status) {
		select {
		case lines <- now:
		default: // the client is slow, and the next line is as good
		}
	})
	last := drain.Status{Partitions: -1}
	for {
		select {
		case now := <-lines:
			if now != last {
				last = now
				tell(adminapi.Drain{Partitions: &now.Partitions, Unsynced: now.Unsynced})
			}
		case err := <-ended:
			if err != nil {
				tell(adminapi.Drain{Error: err.Error(), Unsynced: e.cfg.Node.Drain.Unsynced()})
				return
			}
			tell(adminapi.Drain{Done: true})
			e.cfg.Node.Drain.Stop()
			return
		}
	}
}

// mayDrain says whether the member can be drained, and refuses it otherwise.
func (e *Endpoint) mayDrain(w http.ResponseWriter, r *http.Request) bool {
	if e.cfg.Node == nil {
		problem.Write(w, http.StatusConflict, "nothing-to-drain", "A router holds nothing", "SIGTERM stops it; drain takes the admin address of a node")
		return false
	}
	// Asking again joins the drain under way.
	view := e.cfg.View()
	remain := len(view.Nodes()) - 1
	if remain < view.Target() && r.URL.Query().Get("force") != "1" && e.cfg.State() != member.StateLeaving {
		problem.Write(w, http.StatusConflict, "too-few-nodes", "Too few nodes would remain",
			fmt.Sprintf("%d nodes would remain for %d copies of each session: start another one first, or force it (holdfast drain -force, ?force=1)", remain, view.Target()))
		return false
	}
	return true
}
