package admin

import (
	"fmt"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// ready answers whether requests should be sent here: the member takes part,
// nothing that it owns is incomplete, and its copies are where they should be.
func (e *Endpoint) ready(w http.ResponseWriter, _ *http.Request) {
	if why := e.unready(); len(why) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "why": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// unready returns the reasons for sending requests elsewhere, none if there are
// none.
func (e *Endpoint) unready() (why []string) {
	switch {
	case e.cfg.State() != member.StateReady:
		why = append(why, "leaving")
	case len(e.cfg.View().Nodes()) == 0:
		why = append(why, "no node is ready")
	}
	if e.cfg.AppDown() {
		why = append(why, "the application does not answer")
	}
	if n := e.cfg.Node; n != nil {
		if _, cold := n.Gate.Counts(); cold > 0 {
			why = append(why, fmt.Sprintf("%d partitions are cold", cold))
		}
		if below := n.BelowTarget(); below > 0 {
			why = append(why, fmt.Sprintf("%d keys have too few copies", below))
		}
	}
	return why
}
