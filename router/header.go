package router

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/http1"
)

// prefixOurs begins the names of the headers by which members speak to each
// other about a request, in lower case. Of those only Ack is a client's to set.
const prefixOurs = "holdfast-"

// maxHops is how often a request is passed on at most: router to node, and node
// to node when their rings differ for a moment.
const maxHops = 2

// hopsOf reads how often the request was passed on already. A value that is no
// count was not written by a member. It is taken for the limit, since a loop is
// worse than a refused forgery.
func hopsOf(value []byte) int {
	switch string(value) {
	case "", "0":
		return 0
	case "1":
		return 1
	}
	return maxHops
}

// role is what a request's field means to a router.
type role int8

const (
	passed       role = iota
	dropped           // never passed on as it came
	trusted           // passed on if a trusted proxy says it, or a member that vouches for it
	vouched           // passed on only if a member vouches for it
	hopCount          // the following are written anew, from what a member says
	attempted         // which attempt of which request
	proofOfHop        // that a member says it
	forwardedFor      // who the client is; a trusted proxy may say it too
	forwardedProto
	forwardedHost
)

// ParseAttempt reads Holdfast-Attempt: the id of a request, the same for all
// attempts of it and never 0, and how many of them were sent before this one
// and not answered. Each of those may have been carried out, or may yet be.
func ParseAttempt(value string) (id uint64, unanswered int, err error) {
	name, count, _ := strings.Cut(value, "/")
	if id, err = strconv.ParseUint(name, 16, 64); err == nil {
		unanswered, err = strconv.Atoi(count)
	}
	if err != nil || id == 0 || unanswered < 0 {
		return 0, 0, fmt.Errorf("%s is %.64q; <id in hex>/<count> is accepted", header.Attempt, value)
	}
	return id, unanswered, nil
}

// attemptName appends the name of the attempt that is about to be sent.
func (x *exchange) attemptName(out []byte) []byte {
	for x.id == 0 {
		x.id = rand.Uint64()
	}
	return strconv.AppendInt(append(strconv.AppendUint(out, x.id, 16), '/'), int64(x.unanswered), 10)
}

// roleOf looks a field of kind Other up. Many applications cannot tell an
// underscore from a dash (both reach a CGI program, and all that are modelled
// on it, as the same variable), so a spelling with underscores must not slip
// through.
func (f *Finder) roleOf(name []byte) role {
	if sameName(name, f.lower) {
		return trusted
	}
	for _, lower := range f.proxy {
		if sameName(name, lower) {
			return trusted
		}
	}
	var room [longestTold]byte
	low := http1.Lower(room[:], name)
	odd := false
	for i, c := range low {
		if c == '_' {
			low[i], odd = '-', true
		}
	}
	if len(low) >= len(prefixOurs) && string(low[:len(prefixOurs)]) == prefixOurs {
		switch {
		case odd || len(low) == len(room):
			return dropped
		case string(low) == "holdfast-ack":
			return passed
		case string(low) == "holdfast-hop":
			return hopCount
		case string(low) == "holdfast-attempt":
			return attempted
		case string(low) == "holdfast-proof":
			return proofOfHop
		}
		return dropped
	}
	switch string(low) {
	case "x-forwarded-for":
		return orDropped(forwardedFor, odd)
	case "x-forwarded-proto":
		return orDropped(forwardedProto, odd)
	case "x-forwarded-host":
		return orDropped(forwardedHost, odd)
	// All but the first come here only when spelled with underscores.
	case "forwarded", "content-length", "transfer-encoding", "host", "connection", "upgrade":
		return dropped
	}
	return toldBy(low)
}

// Refused returns which headers of a request must not reach an application:
// Holdfast's own, and what its sender has no right to say of its client. hop is
// the member that has passed it on, nil for none.
func (f *Finder) Refused(r *http.Request, hop *Hop) func(name string) bool {
	f.once.Do(f.init)
	proxied := f.trusts(peerOf(r))
	return func(name string) bool {
		n := []byte(name)
		switch role := f.roleOf(n); role {
		case passed:
			return ours(n)
		case forwardedFor, forwardedProto, forwardedHost:
			return hop == nil && !proxied
		default:
			return !believes(role, n, hop, proxied)
		}
	}
}

func orDropped(r role, odd bool) role {
	if odd {
		return dropped
	}
	return r
}

// sameName compares a name with one in lower case, in which dashes and
// underscores are the same.
func sameName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if other := lower[i]; c != other && !(c == '_' && other == '-') && !(c == '-' && other == '_') {
			return false
		}
	}
	return true
}

// prior is what a request's fields say about its way here.
type prior struct {
	hops        int
	claimed     bool   // to be a member's
	id          uint64 // of the request, 0 if it has none yet
	unanswered  int    // how many attempts of it got no answer
	client      []byte // X-Forwarded-For, of all lines
	proto, host []byte
	// The request asks to switch to WebSocket, the only protocol that may; it
	// accepts trailers.
	websocket, trail bool
}

// writeHead begins the outgoing request in x.out: line and fields, without the
// framing and what differs from try to try. Left out are hop-by-hop fields (RFC
// 9110, section 7.6.1), those that Connection names, and what only members or
// trusted proxies may say when another sender has said it.
func (x *exchange) writeHead() {
	r := x.head
	out := append(x.out[:0], r.Method...)
	out = append(out, ' ')
	x.target[0] = len(out)
	if x.place.call == callApp {
		out = append(out, r.Target...)
	} else {
		// The member's own parser would read a path that has to be mended as
		// another path.
		out = appendPath(out, r.Path)
		out = append(out, r.Target[len(r.Path):]...)
	}
	x.target[1] = len(out)
	out = append(out, " HTTP/1.1\r\n"...)
	guarded := x.guarded()
	if r.Host != nil && !guarded {
		out = http1.AppendField(out, "Host", r.Host)
	}
	var was prior
	for _, f := range r.Fields {
		switch f.Kind {
		case http1.Other:
			if guarded && f.Is("origin") {
				continue // it was held against the client's Host, which the member will not see
			}
			if role := x.rt.cfg.Finder.roleOf(f.Name); role == passed || x.believes(role, f.Name) && x.cover(f.Name) {
				out = http1.AppendField(out, f.Name, f.Value)
			} else {
				x.hear(&was, role, f.Value)
			}
		case http1.Cookie:
			if x.cookie == nil {
				out = http1.AppendField(out, f.Name, f.Value)
			}
		case http1.Upgrade:
			was.websocket = r.Upgrade && foldedIs(f.Value, "websocket")
		case http1.TE:
			was.trail = was.trail || hasToken(f.Value, "trailers")
		}
	}
	x.id, x.unanswered = was.id, was.unanswered
	if x.hop == nil && !was.claimed && (x.rt.cfg.Hops != nil || !x.proxied) {
		// The count ends a loop even beside a proof that does not hold, and a
		// forged one can only shorten its sender's own way.
		was.hops = 0
	}
	// Where frames begin behind a body cannot be told.
	x.hops, x.websocket = was.hops, was.websocket && r.Length == 0
	out = x.appendCookie(out)
	out = x.appendForwarded(out, &was)
	if x.place.call == callApp {
		out = http1.AppendField(out, header.Key, x.user)
	}
	if was.trail {
		out = append(out, "TE: trailers\r\n"...)
	}
	if x.websocket {
		out = append(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	x.out = out
}

// believes reports whether a field is passed on that only some senders may set.
// What a member vouches for is believed whatever address it comes from. Nothing
// else that a member sends is, although its address may be a trusted proxy's
// too.
func believes(role role, name []byte, hop *Hop, proxied bool) bool {
	switch {
	case role != trusted && role != vouched:
		return false
	case hop != nil:
		return hop.covers(name)
	}
	return role == trusted && proxied
}

func (x *exchange) believes(role role, name []byte) bool {
	return believes(role, name, x.hop, x.proxied)
}

// hear keeps what a member says of the request's way, and what a member or a
// trusted proxy says of the client.
func (x *exchange) hear(was *prior, role role, value []byte) {
	switch role {
	case hopCount:
		was.hops = max(was.hops, hopsOf(value))
	case proofOfHop:
		was.claimed = true
	case attempted:
		if x.hop != nil {
			// An id that no member wrote counts as none: the request gets one
			// here.
			was.id, was.unanswered, _ = ParseAttempt(string(value))
		}
	case forwardedFor, forwardedProto, forwardedHost:
		if x.hop != nil || x.proxied {
			was.note(role, value)
		}
	}
}

// note keeps what is believed of the client.
func (was *prior) note(r role, value []byte) {
	switch r {
	case forwardedFor:
		if was.client != nil {
			was.client = append(was.client[:len(was.client):len(was.client)], ", "...)
			value = append(was.client, value...)
		}
		was.client = value
	case forwardedProto:
		was.proto = value
	case forwardedHost:
		was.host = value
	}
}

// appendForwarded tells the member who the client is. What a trusted peer says
// about the client before it is kept, and the peer added to it.
func (x *exchange) appendForwarded(out []byte, was *prior) []byte {
	said := func(name string, at int) { // for the proof
		x.forwarded = append(append(append(append(x.forwarded, '\n'), name...), ':'), out[at:]...)
	}
	out = append(out, "X-Forwarded-For: "...)
	at := len(out)
	if len(was.client) > 0 {
		out = append(append(out, was.client...), ", "...)
	}
	if x.peer.IsValid() {
		out = x.peer.AppendTo(out)
	} else {
		out = append(out, "unknown"...) // as RFC 7239, section 6.2, calls a peer without an address
	}
	proto := "http"
	if x.secure {
		proto = "https"
	}
	if len(was.proto) == 0 {
		was.proto = []byte(proto)
	}
	if len(was.host) == 0 {
		was.host = x.head.Host
	}
	said("X-Forwarded-For", at)
	out = append(out, "\r\nX-Forwarded-Proto: "...)
	at = len(out)
	out = append(out, was.proto...)
	said("X-Forwarded-Proto", at)
	if len(was.host) > 0 {
		out = append(out, "\r\nX-Forwarded-Host: "...)
		at = len(out)
		out = append(out, was.host...)
		said("X-Forwarded-Host", at)
	}
	return append(out, "\r\n"...)
}

// appendCookie lets the request carry the cookie which its answer will set. A
// member whose ring differs then finds the same user in it and does not make up
// a second one. It replaces what the client sent under its name: a forged one,
// or one signed by a secret on its way out.
func (x *exchange) appendCookie(out []byte) []byte {
	if x.cookie == nil {
		return out
	}
	out = append(out, "Cookie: "+x.cookie.Name+"="+x.cookie.Value...)
	for _, f := range x.head.Fields {
		if f.Kind == http1.Cookie {
			out = appendPairs(out, f.Value, x.rt.cfg.Finder.prefix)
		}
	}
	return append(out, "\r\n"...)
}

// appendPairs appends those of a Cookie field's pairs that do not begin with
// prefix.
func appendPairs(out, pairs, prefix []byte) []byte {
	for pair, rest := []byte(nil), pairs; len(rest) > 0; {
		pair, rest, _ = bytes.Cut(rest, []byte{';'})
		if pair = bytes.Trim(pair, " \t"); len(pair) > 0 && !bytes.HasPrefix(pair, prefix) {
			out = append(append(out, "; "...), pair...)
		}
	}
	return out
}

// passesTrailer reports whether a field behind a request's body is passed on.
func (x *exchange) passesTrailer(f http1.Field) bool {
	return f.Kind == http1.Other && x.rt.cfg.Finder.roleOf(f.Name) == passed
}

// appendForMember appends what only members say to each other, and the proof
// that a member says it. The text of the proof has the fields in the order of
// proven.
func (x *exchange) appendForMember(out []byte, t Target) []byte {
	x.beginProof(t)
	x.number = strconv.AppendInt(x.number[:0], int64(x.hops+1), 10)
	out = appendProven(x, out, header.Hop, x.number)
	if x.place.call == callApp {
		addField(&x.text, header.Key, x.user) // it stands in the head already
		if x.made {
			out = appendProven(x, out, header.New, "1")
		}
	}
	if x.place.call == callKeyless {
		return x.appendProof(out)
	}
	for _, refusal := range x.refusals {
		out = appendProven(x, out, header.Failover, refusal)
	}
	if x.standIn != "" {
		out = appendProven(x, out, header.StandIn, x.standIn)
	}
	if fence := x.rt.cfg.Fence; fence != nil {
		out = appendProven(x, out, header.Fence, fence(x.key(), t))
		x.number = x.attemptName(x.number[:0])
		out = appendProven(x, out, header.Attempt, x.number)
	}
	return x.appendProof(out)
}

// adorn makes an answer's head right for the client, and returns what is added
// to it.
func (x *exchange) adorn(r *http1.Response, from Target) (added []http1.Field) {
	ofApp := from.App && x.rt.cfg.FromApp != nil
	kept := r.Fields[:0]
	for _, f := range r.Fields {
		switch {
		// It announces the fields behind the chunks, which pass on with them.
		case f.Kind == http1.Trailer && r.Length == http1.Chunked:
		case f.Kind == http1.Upgrade && r.Status == http.StatusSwitchingProtocols:
		case f.Kind.HopByHop(), f.Kind == http1.Other && (f.Is("holdfast-retry") && x.hops == 0 || ofApp && ours(f.Name)):
			continue
		case f.Kind == http1.ContentLength && (r.Status < 200 || r.Status == http.StatusNoContent):
			continue // RFC 9110, section 8.6
		case f.Kind == http1.Other && !from.App && x.place.call != callKeyless && f.Is("holdfast-node") && string(f.Value) != from.Name:
			x.rt.cfg.Misled(from)
		}
		kept = append(kept, f)
	}
	r.Fields = kept
	if ofApp {
		for _, h := range x.rt.cfg.FromApp() {
			added = append(added, http1.Field{Name: []byte(h.Name), Value: []byte(h.Value)})
		}
	}
	if x.cookie != nil && !setsCookie(kept, x.cookie.Name) && (r.Status >= 200 || r.Status == http.StatusSwitchingProtocols) {
		// A shared cache in front must not hand one user's cookie to the next,
		// however cacheable the application says its page is.
		added = append(added,
			http1.Field{Name: []byte("Set-Cookie"), Value: []byte(x.cookie.String())},
			http1.Field{Name: []byte("Cache-Control"), Value: []byte("private")})
	}
	return added
}

// ours reports whether a name is one of those that members give.
func ours(name []byte) bool {
	return len(name) >= len(prefixOurs) && foldedIs(name[:len(prefixOurs)], prefixOurs)
}

func foldedIs(value []byte, lower string) bool { return http1.Field{Name: value}.Is(lower) }

func hasToken(list []byte, lower string) bool {
	found := false
	http1.EachToken(list, func(token []byte) { found = found || foldedIs(token, lower) })
	return found
}
