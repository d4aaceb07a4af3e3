package main

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// A page of somebody else's, and the name that it gives to this machine.
const (
	evilOrigin = "Origin: https://evil.example"
	crossSite  = "Sec-Fetch-Site: cross-site"
	evilHost   = "Host: evil.example"
)

// visitOf is a request that a browser sends, and what has to become of it.
type visitOf struct {
	what   string
	r      request
	port   int
	served bool
	router bool // only the router is asked; else every member that has the port
}

// browsers lists what pages of others have browsers do, and what they do
// rightly.
func browsers() (list []visitOf) {
	add := func(port int, served bool, what, method, path string, headers ...string) {
		list = append(list, visitOf{what: what, r: request{method: method, path: path, headers: headers}, port: port, served: served})
	}
	// What is served and what must be refused are about different sessions, so
	// that an end that was not refused does not show as a service that fails.
	const own, others = "/v1/sessions/user-0001", "/v1/sessions/user-0002"
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		path := map[string]string{"POST": "/v1/sessions", "PUT": "/v1/sessions/web", "PATCH": others, "DELETE": others}[method]
		body := asJSON
		add(nursery.HTTPPort, false, "cross-site "+method, method, path, evilOrigin, crossSite, body)
		add(nursery.HTTPPort, false, "cross-site "+method+" of an old browser", method, path, evilOrigin, body)
		add(nursery.HTTPPort, false, method+" under a foreign Host", method, path, evilHost, body)
	}
	add(nursery.HTTPPort, false, "cross-site end of all sessions of a user", "DELETE", "/v1/users/user-0002/sessions", evilOrigin, crossSite)
	add(nursery.HTTPPort, false, "GET under a foreign Host", "GET", own, evilHost)
	add(nursery.HTTPPort, true, "GET", "GET", own)
	add(nursery.HTTPPort, true, "touch without a browser", "POST", own+"/touch")
	add(nursery.HTTPPort, true, "touch from the same site", "POST", own+"/touch", "Sec-Fetch-Site: same-origin")
	add(nursery.HTTPPort, true, "touch by the user's own hand", "POST", own+"/touch", "Sec-Fetch-Site: none")
	add(nursery.HTTPPort, true, "GET under localhost", "GET", own, "Host: localhost")
	add(nursery.HTTPPort, true, "GET under an IPv6 address", "GET", own, "Host: [::1]:8080")
	list = append(list, visitOf{what: "the application under the site's own name", r: request{method: "GET", path: "/", headers: []string{"Host: shop.example"}}, port: nursery.HTTPPort, served: true, router: true})

	for _, path := range []string{"/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?gc=1", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1"} {
		add(nursery.AdminPort, false, "cross-site GET of a profile", "GET", path, crossSite, "Sec-Fetch-Mode: no-cors")
		add(nursery.AdminPort, false, "GET of a profile under a foreign Host", "GET", path, evilHost)
	}
	add(nursery.AdminPort, false, "cross-site drain", "POST", "/admin/drain", evilOrigin, crossSite)
	add(nursery.AdminPort, false, "drain under a foreign Host", "POST", "/admin/drain", evilHost)
	add(nursery.AdminPort, false, "ring under a foreign Host", "GET", "/admin/ring", evilHost)
	add(nursery.AdminPort, true, "ring", "GET", "/admin/ring")
	add(nursery.AdminPort, true, "metrics", "GET", "/metrics")
	add(nursery.AdminPort, true, "profile", "GET", "/debug/pprof/goroutine?debug=1")
	add(nursery.AdminPort, true, "profile from the same site", "GET", "/debug/pprof/goroutine?debug=1", "Sec-Fetch-Site: same-origin")
	return list
}

// runWeb sends what web pages of others would have a browser on this machine
// send, to every public and admin address.
func runWeb(ctx context.Context, s *stage) error {
	list := browsers()
	for ctx.Err() == nil {
		for _, m := range s.members {
			for _, v := range list {
				if ctx.Err() != nil {
					return nil
				}
				if m.Node && v.router {
					continue
				}
				s.browse(m, v)
				nursery.Sleep(ctx, 5*time.Millisecond)
			}
		}
	}
	return nil
}

func (s *stage) browse(m *member, v visitOf) {
	at := "at the router"
	if m.Node {
		at = "at a node"
	}
	l, err := dial(attacker, m.Address(v.port))
	if err != nil {
		s.fault("%s: no connection %s", v.what, at)
		return
	}
	defer l.Close()
	a, err := l.ask(v.r, 3*time.Second)
	if err != nil {
		s.fault("%s: no answer %s", v.what, at)
		return
	}
	s.saw("%d", a.status)
	switch {
	case v.served && a.status/100 != 2:
		s.fault("%s is answered %d %s, and must be served", v.what, a.status, at)
	case !v.served && !refusal(a.status):
		s.fault("%s is answered %d %s, and must be refused", v.what, a.status, at)
	}
}

// refusal says whether a status says that a request was refused for what it is.
func refusal(status int) bool {
	return status == http.StatusForbidden || status == http.StatusMisdirectedRequest || status == http.StatusBadRequest
}
