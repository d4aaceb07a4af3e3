package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"

	"github.com/seed-95a32959/holdfast/internal/problem"
)

// maxProfile bounds a profile that takes time, in seconds. go tool pprof asks
// for 30.
const maxProfile = 60

// handleProfiles adds the profiles of net/http/pprof, one at a time: two would
// measure each other, and each slows the node down for as long as it goes on.
func handleProfiles(mux *http.ServeMux) {
	one := make(chan struct{}, 1)
	profile := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if text := r.FormValue("seconds"); text != "" {
				if seconds, err := strconv.ParseFloat(text, 64); err != nil || !(seconds > 0 && seconds <= maxProfile) { // so that NaN fails too
					problem.Write(w, http.StatusBadRequest, "bad-parameter", "Bad query parameter",
						fmt.Sprintf("seconds %.32q: accepted is a number over 0, up to %d", text, maxProfile))
					return
				}
			}
			select {
			case one <- struct{}{}:
				defer func() { <-one }()
				h(w, r)
			default:
				w.Header().Set("Retry-After", "10")
				problem.Write(w, http.StatusConflict, "profile-running", "A profile is being taken", "there is one at a time; try again when it has ended")
			}
		}
	}
	mux.HandleFunc("GET /debug/pprof/", profile(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/profile", profile(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/trace", profile(pprof.Trace))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
}
