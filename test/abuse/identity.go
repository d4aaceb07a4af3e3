package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// What the visitors of the identity attack say about themselves.
const (
	alice     = "alice"
	falseHome = "10.9.8.7"
)

// claims of being alice, or of coming from elsewhere. Applications believe
// each of these headers, from the proxy in front of them.
var identityHeaders = []string{
	"X-User-ID: " + alice, "x-user-id: " + alice, "Holdfast-Key: " + alice, "Holdfast-Hop: 1",
	"X-Forwarded-User: " + alice, "X-Forwarded-Email: " + alice, "X-Forwarded-Preferred-Username: " + alice, "Remote-User: " + alice,
	"X-Remote-User: " + alice, "X-Auth-Request-User: " + alice, "X-Authenticated-User: " + alice,
	"X-Forwarded-For: " + falseHome, "X-Real-IP: " + falseHome, "True-Client-IP: " + falseHome, "CF-Connecting-IP: " + falseHome,
	"X-Client-IP: " + falseHome, "Forwarded: for=" + falseHome,
}

// runIdentity sends requests with such headers, each alone and all together,
// from an address that members have and from another, to the router and to a
// node. With -trust none nothing of them may be believed, nor reach the
// application, which would believe it.
func runIdentity(ctx context.Context, s *stage) error {
	var variants [][]string
	for _, h := range identityHeaders {
		variants = append(variants, []string{h})
	}
	variants = append(variants, identityHeaders, append([]string{"Connection: X-User-ID, close"}, identityHeaders...))
	for ctx.Err() == nil {
		for _, m := range s.members {
			for _, from := range []string{"127.0.0.1", attacker} {
				for _, v := range variants {
					s.pretend(m, from, v)
				}
				s.returns(m, from)
			}
		}
		nursery.Sleep(ctx, time.Second)
	}
	return nil
}

// place names a member and an address in the words of a report.
func place(m *member, from string) string {
	where := "at a node"
	if !m.Node {
		where = "at the router"
	}
	if from == "127.0.0.1" {
		return where + ", from an address that members have"
	}
	return where + ", from an address of its own"
}

// pretend sends one request with false headers.
func (s *stage) pretend(m *member, from string, headers []string) {
	r, ok := s.seen(m, from, headers)
	if !ok {
		return
	}
	s.saw("served")
	for name, values := range r.Header {
		text := strings.Join(values, ", ")
		switch {
		case name == "Holdfast-Key" && text == alice:
			s.fault("a visitor is taken for alice %s, by %s", place(m, from), naming(headers))
		case name == "Cookie":
		case strings.Contains(text, alice) || strings.Contains(text, falseHome):
			s.fault("a visitor's %s reaches the application", name)
		}
	}
}

// naming names the headers of a request.
func naming(headers []string) string {
	if len(headers) > 1 {
		return "all headers together"
	}
	name, _, _ := strings.Cut(headers[0], ":")
	return name
}

// returns has a visitor come twice, the second time with the cookie that it
// was given: it must be the same user, so that what refuses everybody fails.
func (s *stage) returns(m *member, from string) {
	l, err := dial(from, m.Address(nursery.HTTPPort))
	if err != nil {
		s.fault("no connection %s", place(m, from))
		return
	}
	defer l.Close()
	first, cookie, ok := s.visitApp(l, m, from, nil)
	if !ok || cookie == "" {
		s.fault("a visitor gets no cookie %s", place(m, from))
		return
	}
	second, _, ok := s.visitApp(l, m, from, []string{"Cookie: " + cookie})
	if key := first.Header.Get("Holdfast-Key"); ok && (key == "" || key != second.Header.Get("Holdfast-Key")) {
		s.fault("a visitor with a cookie is somebody else the second time %s", place(m, from))
	}
}

// seen asks the application, over a connection of its own, what it is told.
func (s *stage) seen(m *member, from string, headers []string) (r received, ok bool) {
	l, err := dial(from, m.Address(nursery.HTTPPort))
	if err != nil {
		s.fault("no connection %s", place(m, from))
		return r, false
	}
	defer l.Close()
	r, _, ok = s.visitApp(l, m, from, headers)
	return r, ok
}

// visitApp asks the application what it is told, and what cookie the visitor
// gets.
func (s *stage) visitApp(l *line, m *member, from string, headers []string) (r received, cookie string, ok bool) {
	a, err := l.ask(request{method: "GET", path: "/account", headers: headers}, 3*time.Second)
	switch {
	case err != nil:
		s.fault("no answer %s to a visitor with %d headers", place(m, from), len(headers))
	case a.status/100 == 4 && len(headers) > 0:
		s.saw("%d", a.status) // a refusal is right too
	case a.status != http.StatusOK:
		s.fault("%d %s to a visitor with %d headers", a.status, place(m, from), len(headers))
	default:
		ok = json.Unmarshal([]byte(a.body), &r) == nil
		cookie, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
	}
	return r, cookie, ok
}
