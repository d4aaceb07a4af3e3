package admin

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// ready answers load balancers and those who restart members one by one: 200
// for a member that takes requests. One that has just started becomes ready
// when all that it should serve is here, with every copy that can be made. From
// then on it is ready while it serves: the death of another, which leaves
// copies missing at all, makes no survivor unready.
func (e *Endpoint) ready(w http.ResponseWriter, _ *http.Request) {
	if why := e.unready(); len(why) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "why": why})
		return
	}
	e.served.Store(true)
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// unready returns the reasons for sending requests elsewhere, none if there are
// none.
func (e *Endpoint) unready() (why []string) {
	switch state := e.cfg.State(); {
	case state == member.StateLeaving:
		why = append(why, "leaving")
	case state == member.StateJoining:
		why = append(why, cmp.Or(e.cfg.Waiting(), "joining")) // "" if it has joined just now
	case len(e.cfg.View().Nodes()) == 0:
		why = append(why, "no node is ready")
	}
	if e.cfg.AppDown() {
		why = append(why, "the application does not answer")
	}
	why = append(why, e.cfg.Unfit()...)
	n := e.cfg.Node
	if n == nil {
		return why
	}
	if n.NoMajority() {
		why = append(why, "the majority of the cluster cannot be reached")
	}
	if e.served.Load() {
		return why
	}
	if _, cold := n.Gate.Counts(); cold > 0 {
		why = append(why, fmt.Sprintf("%d partitions are cold", cold))
	}
	if due := n.CopiesDue(); due > 0 {
		why = append(why, fmt.Sprintf("%d keys lack a copy that can be made", due))
	}
	return why
}
