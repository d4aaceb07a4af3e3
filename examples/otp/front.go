package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// front is the web site's address: what a load balancer is elsewhere. The
// browser says by a cookie which way its requests go.
type front struct {
	router http.Handler // affinity on: the Holdfast router
	// Affinity off: the servers in turn. Pages and forms take turns apart from
	// each other, so that what happens to a form does not depend on how many
	// pages were looked at before it.
	pages, forms http.Handler
}

const affinityCookie = "otp_affinity"

// openFront opens the web site.
func openFront(at layout) (*http.Server, error) {
	listener, err := net.Listen("tcp", at.address(0, httpPort))
	if err != nil {
		return nil, err
	}
	f := &front{
		router: proxy(at.url(0, routerPort), &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}),
		pages:  inTurn(at.all(plainPort)), forms: inTurn(at.all(plainPort)),
	}
	server := &http.Server{
		Handler: http.NewCrossOriginProtection().Handler(f), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	go server.Serve(listener) // until Close
	return server, nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/affinity":
		f.turn(w, r)
	case !affinityOff(r):
		f.router.ServeHTTP(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		f.pages.ServeHTTP(w, r)
	default:
		f.forms.ServeHTTP(w, r)
	}
}

func affinityOff(r *http.Request) bool {
	cookie, err := r.Cookie(affinityCookie)
	return err == nil && cookie.Value == "off"
}

// turn turns affinity on or off for one browser and begins its story anew.
func (f *front) turn(w http.ResponseWriter, r *http.Request) {
	to := r.FormValue("to")
	if r.Method != http.MethodPost || to != "on" && to != "off" {
		http.Error(w, "POST with to=on or to=off is accepted here", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: affinityCookie, Value: to, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.SetCookie(w, &http.Cookie{Name: trailCookie, Path: "/", MaxAge: -1})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func proxy(to string, by http.RoundTripper) http.Handler {
	target, err := url.Parse(to)
	if err != nil {
		panic("otp: an address of our own does not parse: " + err.Error())
	}
	return &httputil.ReverseProxy{
		Transport: by,
		Rewrite: func(r *httputil.ProxyRequest) {
			// Members of the cluster run on this host and are believed by
			// their address; so is this proxy, and it must not pass on what a
			// browser says about who its user is.
			r.Out.Header.Del("X-User-ID")
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Holdfast-") {
					r.Out.Header.Del(name)
				}
			}
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				http.Error(w, "No server answered: "+err.Error(), http.StatusBadGateway)
			}
		},
	}
}

// inTurn gives each request to the next server that lives. Every request has a
// connection of its own, so it is enough to dial the next server each time.
func inTurn(addresses []string) http.Handler {
	var next atomic.Uint64
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var errs []error
		for range addresses {
			var d net.Dialer
			turn := (next.Add(1) - 1) % uint64(len(addresses))
			c, err := d.DialContext(ctx, network, addresses[turn])
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
	return proxy("http://servers", &http.Transport{DialContext: dial, DisableKeepAlives: true})
}
