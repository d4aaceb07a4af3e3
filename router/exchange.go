package router

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/hostcheck"
	"github.com/seed-95a32959/holdfast/internal/http1"
)

// maxTargets is how many members one request is sent to at most: the owner, the
// successor, and one more when the ring has changed in between because both of
// them were lost.
const maxTargets = 3

// agreePause is how long a request waits before it looks again who owns its
// key.
const agreePause = 20 * time.Millisecond

var errNoMember = errors.New("no member is ready")

// exchange is one request on its way to an answer. The client's next request
// reuses it.
type exchange struct {
	rt    *Router
	front front
	head  *http1.Request

	peer    netip.Addr
	secure  bool // the client came over TLS
	proxied bool // the peer is a trusted proxy, unless it is a member
	hop     *Hop // proven by a member that has passed the request on; nil for none

	place  place
	user   string       // the key of an application request
	made   bool         // user is an id that was made for this request
	cookie *http.Cookie // to be set by the answer; nil for none
	// In place of the configured LookupApp; nil for none.
	lookup func(key string) Route
	hops   int // how often it was passed on before

	id uint64 // of all attempts of it; 0 before the first
	// How many attempts were sent and not answered, those of the members that
	// passed it on included.
	unanswered int

	out    []byte // the outgoing head, and behind it what a try adds
	target [2]int // where its target begins and ends
	// Names of the fields that are passed on and that only some senders may
	// set, in lower case, with commas.
	covered    []byte
	forwarded  []byte  // what the head says of the client, for the proof
	text       hopText // of the proof
	proof      proof
	number     []byte  // as it is written in a field
	held       []byte  // the whole body, if upload is nil
	tail       []byte  // the field lines behind a held body; then it goes in one chunk
	upload     *upload // the body streams and can be sent once
	websocket  bool
	noBody     bool // the answer has none
	repeatable bool // twice is as once

	tried     [maxTargets]Target
	tries     int       // how many of tried are set
	redialled bool      // a dial that timed out was repeated
	waitUntil time.Time // how long it may wait for the members to agree; zero before it had to
	refusals  []string  // owner/boot of members that could not be dialled
	standIn   string    // owner/boot whose application is down
	errs      []error   // why each member failed

	member *memberConn // which has answered
	sealed []byte      // a small answer of the session API, whole
}

// reset prepares for the next request, keeping what was allocated.
func (x *exchange) reset(r *http1.Request) {
	*x = exchange{
		rt: x.rt, front: x.front, peer: x.peer, secure: x.secure, head: r,
		out: resetBuffer(x.out), covered: resetBuffer(x.covered), forwarded: resetBuffer(x.forwarded), text: hopText{resetBuffer(x.text.b)},
		proof: proof{stamp: x.proof.stamp[:0]}, number: x.number[:0], held: resetBuffer(x.held), tail: resetBuffer(x.tail), sealed: resetBuffer(x.sealed), refusals: x.refusals[:0], errs: x.errs[:0],
	}
	x.proxied = x.rt.cfg.Finder.trusts(x.peer)
	x.noBody = string(r.Method) == http.MethodHead
}

// resetBuffer empties a buffer for its next use, unless it has grown so large
// that an unused connection should not keep it.
func resetBuffer(b []byte) []byte {
	if cap(b) > 8<<10 {
		return nil
	}
	return b[:0]
}

// run finds the user and carries the request out.
func (x *exchange) run() {
	if !x.placed() || !x.admitted() {
		return
	}
	f := x.rt.cfg.Finder
	if x.user = x.place.key; x.place.call == callApp {
		header, _ := http1.Get(x.head.Fields, f.lower)
		x.user, x.made, x.cookie = f.find(x.head.Fields, string(header), x.believes(trusted, []byte(f.lower)))
	}
	x.forward()
}

// admitted finds out whether a member has passed the request on, and refuses
// one that it has passed on too long ago.
func (x *exchange) admitted() bool {
	hop, err := x.arrived()
	if err != nil {
		x.refuse(http.StatusServiceUnavailable, "late-hop", "The request came too late", err.Error(), Header{header.Retry, header.RetryElsewhere})
		return false
	}
	x.hop = hop
	return true
}

// placed finds out what the path is for.
func (x *exchange) placed() bool {
	x.rt.counters.requests.Add(1)
	p, err := parsePath(string(x.head.Path))
	if err != nil {
		x.refuse(http.StatusBadRequest, "malformed-path", "The path is malformed", err.Error())
		return false
	}
	if x.place = p; x.rt.cfg.NoAPI && isAPI(string(x.head.Path)) {
		x.refuse(http.StatusNotFound, "no-session-api", "The session API is not served here", "this router was started with -no-api; applications reach it at their node")
		return false
	}
	return !x.guarded() || x.fromHere()
}

// guarded reports whether the Guard decides about this request.
func (x *exchange) guarded() bool { return x.rt.cfg.Guard != nil && x.place.call != callApp }

// fromHere asks the Guard, and refuses what it does not let pass.
func (x *exchange) fromHere() bool {
	site, _ := http1.Get(x.head.Fields, "sec-fetch-site")
	origin, _ := http1.Get(x.head.Fields, "origin")
	refusal := x.rt.cfg.Guard.Check(hostcheck.Request{
		Method: string(x.head.Method), Host: string(x.head.Host), Site: string(site), Origin: string(origin), Socket: !x.peer.IsValid(),
	})
	if refusal == nil && x.ofAnother() {
		x.rt.counters.visitors.Add(1)
		refusal = &OfAnother
	}
	if refusal != nil {
		x.refuse(http.StatusForbidden, refusal.Slug, refusal.Title, refusal.Detail)
	}
	return refusal == nil
}

// OfAnother is told to whom a visitor's cookie came with a change of another's
// session.
var OfAnother = hostcheck.Refusal{
	Slug: "not-yours", Title: "The session is another visitor's",
	Detail: "the request carries the cookie of a visitor, who may change and end the sessions of that cookie's id alone; accepted is that id, or a program's request without the cookie",
}

func (x *exchange) ofAnother() bool {
	if x.safe() {
		return false
	}
	for _, f := range x.head.Fields {
		if f.Kind == http1.Cookie && x.place.call == callKeyed && x.rt.cfg.Finder.ofAnother(f.Value, x.place.key) {
			return true
		}
	}
	return false
}

// forward sends the request on, its user being known.
func (x *exchange) forward() {
	x.writeHead()
	if err := x.hold(); err != nil {
		x.refuseBody(err)
		return
	}
	target, err := x.deliver()
	if err != nil {
		x.fail(err)
		return
	}
	x.answer(target)
}

// deliver sends the request to one member after another, as long as the last
// one failed in a way that allows it. It returns the member that has answered.
func (x *exchange) deliver() (Target, error) {
	x.rt.budget.earn()
	target := x.next()
	if target == (Target{}) {
		return target, errNoMember
	}
	for {
		err := x.send(target)
		if err != nil {
			x.note(target, err)
		}
		var next Target
		waited := err == nil && x.asksToWait() && x.wait()
		if waited {
			x.tries = 0
			next = x.next()
		} else if x.mayGoOn(err) {
			next = x.next()
			if next == (Target{}) && x.mayRedial(err) {
				next = target
			}
		}
		if err != nil && !nothingSent(err) && next != (Target{}) && !x.rt.budget.spend(time.Now()) {
			next = Target{}
		}
		switch {
		case next == target && err != nil, next != (Target{}) && waited:
			x.rt.counters.retries.Add(1)
		case next != (Target{}):
			x.rt.counters.failovers.Add(1)
			if nothingSent(err) {
				x.passOver(target)
			}
		case err == nil && x.saysTooLittle(target):
			x.leave(target)
			return target, errors.Join(x.errs...)
		case err != nil:
			return target, errors.Join(x.errs...)
		default:
			return target, nil
		}
		if err == nil {
			x.leave(target)
		}
		target = next
	}
}

// next names the next member to try, or none. It looks the key up again each
// time: told of a failure, the member may have a new ring, in which the
// successor has become the owner and has a successor itself. A member that has
// just failed other requests is passed over while there is another.
func (x *exchange) next() Target {
	now := time.Now()
	for _, last := range [...]bool{false, true} {
		for i := range 2 {
			t := x.candidate(i)
			if x.tries == maxTargets || t == (Target{}) || x.hasTried(t) || x.hops >= maxHops && !t.App {
				continue
			}
			if !last && x.rt.ejected.has(t, now) {
				if x.place.call != callKeyless {
					x.passOver(t)
				}
				continue
			}
			x.tried[x.tries] = t
			x.tries++
			return t
		}
	}
	return Target{}
}

// passOver tells the next member in whose place it is asked, as if that member
// had been dialled once more and had refused.
func (x *exchange) passOver(t Target) {
	who := t.Name + "/" + t.Boot
	if t.App {
		x.standIn = who
		return
	}
	for _, known := range x.refusals {
		if known == who {
			return
		}
	}
	x.refusals = append(x.refusals, who)
}

// candidate names the first or second choice as things are now.
func (x *exchange) candidate(i int) Target {
	cfg := &x.rt.cfg
	var route Route
	switch x.place.call {
	case callKeyless:
		return cfg.Any()
	case callApp:
		lookup := cfg.LookupApp
		if x.lookup != nil {
			lookup = x.lookup
		}
		if route = lookup(x.user); route.Absent != "" {
			x.standIn = route.Absent
		}
	default:
		route = cfg.Lookup(x.place.key)
	}
	if i == 0 {
		return route.Owner
	}
	return route.Successor
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

// failedAt is why a member failed.
func failedAt(t Target, err error) error { return fmt.Errorf("send request to %s: %w", t.Name, err) }

// note keeps why a member failed, and tells those who count.
func (x *exchange) note(t Target, err error) {
	x.errs = append(x.errs, failedAt(t, err))
	switch {
	case refused(err):
		x.rt.counters.refused.Add(1)
		x.rt.ejected.add(t, time.Now())
		x.rt.cfg.Failed(t)
	case silent(err):
		x.rt.counters.silent.Add(1)
		if nothingSent(err) {
			// A member that is slow to answer one request may be quick with the
			// others.
			x.rt.ejected.add(t, time.Now())
		}
	}
}

// mayGoOn reports whether the request may go to another member after this
// outcome. This is the rule that keeps a request from being carried out twice.
// It goes on if no member has seen it; or if a member says that it did nothing;
// or if the request is idempotent and the connection broke, as it does when a
// member dies. It does not go on after a timeout: the member may still be busy
// with it, a second one would have the same work to do, and a request that
// slows one member down would slow all. The connections to a member that is
// frozen or cut off break when the others hold it for dead.
func (x *exchange) mayGoOn(err error) bool {
	var client *clientError
	switch {
	case errors.As(err, &client), x.upload != nil && x.upload.started:
		return false
	case nothingSent(err):
		return true
	case err != nil:
		return x.upload == nil && x.repeatable && !silent(err)
	}
	return x.upload == nil && x.asksForAnother()
}

// asksForAnother reports whether the answer is that of a member which did
// nothing.
func (x *exchange) asksForAnother() bool {
	r := &x.member.resp
	retry, _ := http1.Get(r.Fields, "holdfast-retry")
	return r.Status == http.StatusServiceUnavailable && string(retry) == header.RetryElsewhere && !x.tried[x.tries-1].App
}

// saysTooLittle reports whether the answer is that of a member which did nothing
// to a change that another one was sent before, and may have made. The client
// would take it for the whole truth.
func (x *exchange) saysTooLittle(target Target) bool {
	nothing, _ := http1.Get(x.member.resp.Fields, "holdfast-retry")
	return len(nothing) > 0 && !target.App && x.someSent() && !x.safe()
}

// safe reports whether the request asks for nothing to be changed.
func (x *exchange) safe() bool {
	switch string(x.head.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// asksToWait reports whether the answer is that the members do not agree yet on
// who owns the key: a claimant is about to take it over, and the former owner
// has promised it away; or the owner has it by a newer claim than the request
// was sent by. Nothing was done. The member that has the request from the
// client looks again in a moment; members in between pass the answer on.
func (x *exchange) asksToWait() bool {
	r := &x.member.resp
	retry, _ := http1.Get(r.Fields, "holdfast-retry")
	return x.hops == 0 && x.upload == nil && (r.Status == http.StatusLoopDetected || r.Status == http.StatusServiceUnavailable) && string(retry) == header.RetrySoon && !x.tried[x.tries-1].App
}

// wait gives the members a moment to agree. false says that it has lasted too
// long, or that the client has left.
func (x *exchange) wait() bool {
	now := time.Now()
	if x.waitUntil.IsZero() {
		x.waitUntil = now.Add(x.rt.cfg.AgreeTimeout)
	}
	if now.After(x.waitUntil) {
		return false
	}
	select {
	case <-time.After(agreePause):
		return !x.front.left()
	case <-x.front.context().Done():
	case <-x.rt.closing.Done():
	}
	return false
}

// mayRedial reports whether the last member left is dialled once more. The
// dial's bound is shorter than the second after which a lost SYN is sent again
// (RFC 6298, section 2), so one dropped packet, likely when all clients of a
// dead owner dial its successor at once, looks like silence.
func (x *exchange) mayRedial(err error) bool {
	if x.redialled || !nothingSent(err) || !silent(err) {
		return false
	}
	x.redialled = true
	return true
}

func (x *exchange) refuse(status int, slug, title, detail string, added ...Header) {
	x.rt.counters.errors.Add(1)
	x.front.refuse(status, slug, title, detail, added...)
}

// fail answers a request that got no answer.
func (x *exchange) fail(err error) {
	var client *clientError
	if x.upload != nil && x.upload.broken != nil {
		x.refuseBody(x.upload.broken)
		return
	}
	if errors.Is(err, errNoMember) && x.hops >= maxHops {
		x.refuse(http.StatusLoopDetected, "hop-limit", "The request was passed on too often",
			"the members do not agree yet on who owns this key, or their addresses point at each other; try again", Header{header.Retry, header.RetrySoon})
		return
	}
	if errors.Is(err, errNoMember) {
		x.refuse(http.StatusServiceUnavailable, "no-member", "No member is ready", "no ready node is known; try again in a moment")
		return
	}
	if errors.As(err, &client) || x.front.left() {
		x.rt.counters.cancelled.Add(1)
		x.front.abort()
		return
	}
	app := x.tries > 0 && x.tried[x.tries-1].App // none is left of those before a wait
	if x.hops > 0 && app && !x.someSent() {
		x.rt.counters.errors.Add(1)
		x.front.refuse(http.StatusServiceUnavailable, "application-unreachable", "The application did not answer",
			"another member's may", Header{header.Retry, header.RetryElsewhere})
		return
	}
	slug, title := "connection-broken", "The connection to the member broke"
	switch last := x.errs[len(x.errs)-1]; {
	case app:
		slug, title = "application-unreachable", "The application did not answer"
	case silent(last):
		slug, title = "member-silent", "The member did not answer in time"
	case nothingSent(last):
		slug, title = "member-unreachable", "The member cannot be reached"
	}
	x.rt.cfg.Logger.LogAttrs(x.front.context(), slog.LevelWarn, "request got no answer",
		slog.String("method", string(x.head.Method)), slog.String("problem", slug), slog.Any("cause", err))
	x.refuse(http.StatusBadGateway, slug, title, x.outcome())
}

// outcome tells the client whether its request may have been carried out, which
// is what it has to know before it tries again.
func (x *exchange) outcome() string {
	if x.someSent() {
		return "the request may have been carried out"
	}
	return "the request was not carried out; try again in a moment"
}

func (x *exchange) someSent() bool {
	for _, err := range x.errs {
		if !nothingSent(err) {
			return true
		}
	}
	return false
}
