package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
)

// maxTargets is how many members one request is sent to at most: the owner, the heir, and one more when the ring has changed in
// between because both of them were lost.
const maxTargets = 3

var errNoMember = errors.New("no member is ready")

// exchange is one request on its way to an answer. To ReverseProxy, which moves headers and bodies, it is the transport.
type exchange struct {
	rt     *Router
	link   *link
	place  place
	path   string       // escaped and valid
	user   string       // the key of an application request
	cookie *http.Cookie // to be set by the answer; nil for none
	hops   int          // how often it was passed on before

	repeatable bool    // twice is as once
	held       []byte  // the whole body, if upload is nil
	upload     *upload // the body streams and can be sent once

	tried     [maxTargets]Target
	tries     int      // how many of tried are set
	sent      bool     // the outgoing request was handed to a transport, and is no longer ours to change
	redialled bool     // a dial that timed out was repeated
	refusals  []string // owner/boot of members that could not be dialled
	errs      []error  // why each member failed
}

// serve runs the exchange.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	if isWebSocket(r.Header) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(x.rt.closing, cancel)()
		r = r.WithContext(ctx)
	}
	proxy := httputil.ReverseProxy{
		Rewrite: x.rewrite, Transport: x, ModifyResponse: x.adorn, ErrorHandler: x.fail,
		BufferPool: &x.rt.buffers, ErrorLog: x.rt.errorLog,
	}
	proxy.ServeHTTP(w, r)
}

// RoundTrip sends the request to one member after another, as long as the last one failed in a way that allows it.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	target := x.next()
	if target == (Target{}) {
		return nil, errNoMember
	}
	for {
		resp, err := x.send(req, target)
		if err != nil {
			x.note(target, err)
		}
		var next Target
		if x.mayGoOn(req, resp, err) {
			next = x.next()
			if next == (Target{}) && x.mayRedial(err) {
				next = target
			}
		}
		switch {
		case next == target && err != nil:
			x.rt.counters.retries.Add(1)
		case next != (Target{}):
			x.rt.counters.failovers.Add(1)
			if nothingSent(err) {
				x.refusals = append(x.refusals, target.Name+"/"+target.Boot)
			}
		case err != nil:
			return nil, errors.Join(x.errs...)
		default:
			return resp, nil
		}
		if resp != nil {
			discard(resp)
		}
		target = next
	}
}

// next names the next member to try, or none. It looks the key up again each time: told of a failure, the member may have a new ring,
// in which the heir has become the owner and has an heir itself.
func (x *exchange) next() Target {
	for i := range 2 {
		if t := x.candidate(i); x.tries < maxTargets && t != (Target{}) && !x.hasTried(t) {
			x.tried[x.tries] = t
			x.tries++
			return t
		}
	}
	return Target{}
}

// candidate names the first or second choice as things are now.
func (x *exchange) candidate(i int) Target {
	if x.place.call == callKeyless {
		return x.rt.cfg.Any()
	}
	route := x.rt.cfg.Lookup(x.key())
	if i == 0 {
		return route.Owner
	}
	return route.Heir
}

// key is what the request is pinned by; not for callKeyless.
func (x *exchange) key() string {
	if x.place.call == callKeyed {
		return x.place.key
	}
	return x.user
}

func (x *exchange) hasTried(t Target) bool {
	for _, other := range x.tried[:x.tries] {
		if t == other {
			return true
		}
	}
	return false
}

// send sends the request to one member, on a kept connection first. When that breaks nobody knows whether it was stale or whether the member
// has just died; a fresh one tells, by being refused.
func (x *exchange) send(req *http.Request, t Target) (*http.Response, error) {
	if x.upload != nil {
		// It could not be sent again, and one more handshake is little beside such a body.
		return x.try(x.link.fresh, req, t)
	}
	resp, err := x.try(x.link.kept, req, t)
	if err == nil || nothingSent(err) || silent(err) || !x.repeatable || req.Context().Err() != nil {
		return resp, err
	}
	x.rt.counters.retries.Add(1)
	return x.try(x.link.fresh, req, t)
}

// try sends the request once. The transport may still be reading an earlier try's request, so each gets its own after the first.
func (x *exchange) try(transport *http.Transport, req *http.Request, t Target) (*http.Response, error) {
	if x.sent {
		req = req.Clone(req.Context())
	}
	x.sent = true
	req.URL.Host = t.HTTP
	if len(x.refusals) > 0 && x.place.call != callKeyless {
		req.Header[headerFailover] = x.refusals
	}
	if fence := x.rt.cfg.Fence; fence != nil && x.place.call != callKeyless {
		req.Header[headerFence] = []string{fence(x.key(), t)}
	}
	x.load(req)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := x.seal(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// note keeps why a member failed, and tells those who count.
func (x *exchange) note(t Target, err error) {
	x.errs = append(x.errs, fmt.Errorf("send request to %s: %w", t.Name, err))
	switch {
	case refused(err):
		x.rt.counters.refused.Add(1)
		x.rt.cfg.Failed(t)
	case silent(err):
		x.rt.counters.silent.Add(1)
	}
}

// mayGoOn reports whether the request may go to another member after this outcome. This is the rule that keeps a request from being carried out
// twice: it goes on if no member has seen it, or if one says that it did nothing, or if twice is as once.
func (x *exchange) mayGoOn(req *http.Request, resp *http.Response, err error) bool {
	switch {
	case req.Context().Err() != nil:
		return false
	case nothingSent(err):
		return x.upload == nil || !x.upload.started.Load()
	case err != nil:
		return x.upload == nil && x.repeatable
	}
	return resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(headerRetry) == "1" && x.upload == nil
}

// mayRedial reports whether the last member left is dialled once more. The dial's bound is shorter than the second after which a lost SYN is sent again
// (RFC 6298, section 2), so one dropped packet, likely when all clients of a dead owner dial its heir at once, looks like silence.
func (x *exchange) mayRedial(err error) bool {
	if x.redialled || !nothingSent(err) || !silent(err) {
		return false
	}
	x.redialled = true
	return true
}

// fail answers a request that got no answer.
func (x *exchange) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		x.rt.counters.cancelled.Add(1)
		w.WriteHeader(http.StatusBadGateway) // nobody reads it, but it must not be taken for a 200 by what wraps this handler
		return
	}
	if x.upload != nil {
		if broken := x.upload.broken.Load(); broken != nil {
			x.refuseBody(w, *broken)
			return
		}
	}
	if errors.Is(err, errNoMember) {
		x.rt.refuse(w, http.StatusServiceUnavailable, "no-member", "No member is ready", "no ready node is known; try again in a moment")
		return
	}
	if x.tries == 0 {
		x.rt.refuse(w, http.StatusBadRequest, "bad-request", "The request cannot be passed on", err.Error())
		return
	}
	slug, title := "connection-broken", "The connection to the member broke"
	switch last := x.last(err); {
	case silent(last):
		slug, title = "member-silent", "The member did not answer in time"
	case nothingSent(last):
		slug, title = "member-unreachable", "The member cannot be reached"
	}
	x.rt.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "request got no answer",
		slog.String("method", r.Method), slog.String("problem", slug), slog.Any("cause", err))
	x.rt.refuse(w, http.StatusBadGateway, slug, title, x.outcome())
}

// last is the failure of the member tried last.
func (x *exchange) last(err error) error {
	if n := len(x.errs); n > 0 {
		return x.errs[n-1]
	}
	return err
}

// outcome tells the client whether its request may have been carried out, which is what it has to know before it tries again.
func (x *exchange) outcome() string {
	for _, err := range x.errs {
		if !nothingSent(err) {
			return "the request may have been carried out"
		}
	}
	if len(x.errs) == 0 {
		return "the answer could not be passed on; the request was carried out"
	}
	return "the request was not carried out; try again in a moment"
}
