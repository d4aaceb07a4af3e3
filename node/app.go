package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// appHandler serves what is not the session API.
func (n *Node) appHandler() http.Handler {
	n.setApplication(n.application())
	return n.pinned()
}

// pinned gives a request to this node's application if the node owns its user,
// and to the owner otherwise.
func (n *Node) pinned() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var user string
		var cookie *http.Cookie
		if r.Header.Get(headerKey) != "" && n.trustsRequest(r) {
			user = r.Header.Get(headerKey)
		} else {
			user, cookie = n.finder.Find(r)
		}
		here, err := n.awaitOwner(r.Context(), user)
		switch {
		case err != nil:
			refuseUnavailable(w, err.Error())
		case !here:
			n.router.Forward(w, r, user, cookie)
		default:
			if cookie != nil {
				http.SetCookie(w, cookie)
				r.AddCookie(cookie) // as a request has it that was passed on
			}
			for name := range r.Header {
				if strings.HasPrefix(name, "Holdfast-") {
					r.Header.Del(name)
				}
			}
			r.Header.Set(headerKey, user)
			r.Header.Set(headerNode, n.id.Name)
			w.Header().Set(headerNode, n.id.Name)
			w.Header().Set(headerRing, n.View().Table.Fingerprint())
			(*n.app.Load()).ServeHTTP(w, r)
		}
	})
}

// awaitOwner says whether this node serves the user, and waits a little while
// nobody does.
func (n *Node) awaitOwner(ctx context.Context, user string) (here bool, err error) {
	p := ring.Partition(user)
	if n.owner.phaseOf(p) == warm {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	for {
		changed := n.members.changed()
		v := n.owner.route(p)
		if v.phase == warm || v.phase == fetching {
			return true, nil
		}
		if v.to != nil {
			return false, nil
		}
		select {
		case <-changed:
		case <-time.After(recheck):
		case <-ctx.Done():
			return false, fmt.Errorf("partition %d: %w", p, errNoOwner)
		}
	}
}

// application is what runs beside this node.
func (n *Node) application() http.Handler {
	switch {
	case n.cfg.Handler != nil:
		return n.bound(n.cfg.Handler)
	case n.cfg.App != "":
		return n.proxyToApp()
	case n.cfg.Demo:
		return http.HandlerFunc(n.demo)
	default:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			problem.Write(w, http.StatusNotFound, "no-application", "No application is configured",
				"this node answers under /v1/; -app URL gives it an application, -demo a visit counter")
		})
	}
}

func (n *Node) proxyToApp() http.Handler {
	app, err := url.Parse(n.cfg.App)
	if err != nil {
		panic("node: -app was validated and does not parse: " + err.Error())
	}
	n.appLink = &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return n.cfg.Network.Dial(ctx, address)
		},
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(app)
			r.Out.Host = r.In.Host
			if n.trustsRequest(r.In) {
				r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			}
			r.SetXForwarded()
		},
		Transport: n.appLink,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return
			}
			problem.Write(w, http.StatusBadGateway, "application-unreachable", "The application did not answer",
				fmt.Sprintf("%s: %v", n.cfg.App, err))
		},
	}
}

// demoAnswer is what the visit counter says.
type demoAnswer struct {
	User   string `json:"user"`
	Visits int    `json:"visits"`
	Node   string `json:"node"`
}

// demo counts a user's visits in the user's session: it reads, adds one, and
// writes on the condition that nobody else has written meanwhile.
func (n *Node) demo(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get(headerKey)
	// Each try that fails is one of another request that succeeded, so this
	// ends when as many have been counted as came at once.
	for r.Context().Err() == nil {
		visits, err := n.countVisit(r.Context(), user)
		if errors.Is(err, session.ErrPrecondition) {
			continue // a request of the same user was faster
		}
		switch {
		case errors.Is(err, session.ErrType):
			problem.Write(w, http.StatusConflict, "type-conflict", "The session holds something else", "the visit counter needs a session with fields")
		case err != nil:
			refuseUnavailable(w, err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			// Fails only when the client has left.
			_ = json.NewEncoder(w).Encode(demoAnswer{user, visits, n.id.Name})
		}
		return
	}
}

const visitsField = "visits"

func (n *Node) countVisit(ctx context.Context, user string) (int, error) {
	s := n.Sessions()
	rec, err := s.Get(ctx, user)
	op := session.Op{Kind: session.Patch, Key: user}
	visits := 0
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		// A visit after the logout begins a new session, on purpose.
		op.Kind, op.Create = session.Put, true
	case err != nil:
		return 0, err
	default:
		op.IfVersion = rec.Version()
		if count, ok := rec.Value(visitsField); ok {
			if visits, err = strconv.Atoi(count); err != nil {
				visits = 0 // some other writer's field: begin anew
			}
		}
	}
	visits++
	op.Fields = []session.Field{{Name: visitsField, Value: strconv.Itoa(visits)}}
	_, err = s.Do(ctx, &op, replication.AckDefault)
	return visits, err
}
