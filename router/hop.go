package router

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/http1"
)

// hopWindow bounds how far the time in a proof may be from the receiver's, so
// that a proof that a stranger has seen on its way is not good for ever. It is
// as long as a router waits for an answer.
const hopWindow = 5 * time.Second

// maxProof bounds a proof, in bytes, so that what a stranger sends is cheap to
// refuse.
const maxProof = 1024

// maxMACs bounds the MACs in a proof.
const maxMACs = 4

// proven are the fields that each proof covers, in this order. It names those
// that it covers besides.
var proven = [...]string{
	header.Hop, header.Key, header.New, header.Failover, header.StandIn, header.Fence, header.Attempt, "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
}

// ErrLateHop says that a member's proof is genuine and its time is over, or has
// not come. Nothing may be done for such a request: it waited in a cut network
// or in the socket of a frozen process, or a stranger sends it a second time.
var ErrLateHop = errors.New("the proof of the hop is out of its time")

// HopKey is the key by which one member proves its requests to another one. The
// two directions of a pair have a key each.
type HopKey struct{ signer *signer }

// NewHopKey derives the key for hops of one member to another from what members
// alone know. from and to name one boot each.
func NewHopKey(secret []byte, from, to string) *HopKey {
	mac := hmac.New(sha256.New, secret)
	for _, part := range []string{"holdfast: key of a hop", from, to} {
		_, _ = mac.Write(append([]byte(part), 0)) // a hash never fails to take bytes
	}
	return &HopKey{newSigner(mac.Sum(nil))}
}

// Hops are the keys by which members prove themselves to each other. It must
// neither lock for long nor block.
type Hops interface {
	// To returns under which name and by which keys a hop to a member is
	// proven, and the time by that member's clock. One key is enough if the
	// member is known to have it; of several the member needs one. Without a
	// key the hop has no proof.
	To(t Target) (self string, keys []*HopKey, now time.Time)
	// From returns the keys that hops of a member may be proven by, and this
	// member's time. The name comes from the request and may be made up.
	From(member string) (keys []*HopKey, now time.Time)
}

// Hop is a request that a member has passed on and proven. A nil Hop is a
// request that comes from no member.
type Hop struct {
	From    string   // the member, as its proof names it
	covered []string // further fields that the proof covers, in lower case
}

// covers reports whether the member vouches for a field.
func (h *Hop) covers(name []byte) bool {
	return slices.ContainsFunc(h.covered, func(covered string) bool { return foldedIs(name, covered) })
}

// hopText is what a proof signs. Each value has a line of its own and no value
// holds a line's end, so no two requests have the same text.
type hopText struct{ b []byte }

type text interface{ ~string | ~[]byte }

// of writes the text of a request whose fields values looks up by their
// canonical names.
func (t *hopText) of(method, target, member, stamp, covered string, values func(name string) []string) {
	t.b = append(append(append(t.b[:0], method...), ' '), target...)
	for _, part := range [...]string{member, stamp, covered} {
		t.b = append(append(t.b, '\n'), part...)
	}
	for _, name := range proven {
		for _, value := range values(name) {
			addField(t, name, value)
		}
	}
	for name := range strings.SplitSeq(covered, ",") {
		for _, value := range values(http.CanonicalHeaderKey(name)) {
			addField(t, name, value)
		}
	}
}

func addField[N, V text](t *hopText, name N, value V) {
	t.b = append(append(append(append(t.b, '\n'), name...), ':'), value...)
}

// proof is what the hop under way is proven by.
type proof struct {
	self  string
	keys  []*HopKey
	stamp []byte
}

// beginProof begins the text that proves a hop to a member. Code that appends a
// field that only members may set appends it to the text too.
func (x *exchange) beginProof(t Target) {
	p := &x.proof
	if p.keys = nil; x.rt.cfg.Hops == nil {
		return
	}
	var now time.Time
	if p.self, p.keys, now = x.rt.cfg.Hops.To(t); len(p.keys) == 0 {
		return
	}
	p.stamp = strconv.AppendInt(p.stamp[:0], now.UnixMilli(), 10)
	b := append(append(append(x.text.b[:0], x.head.Method...), ' '), x.out[x.target[0]:x.target[1]]...)
	b = append(append(b, '\n'), p.self...)
	b = append(append(b, '\n'), p.stamp...)
	x.text.b = append(append(b, '\n'), x.covered...)
}

// appendProven appends a field that the proof covers.
func appendProven[V text](x *exchange, out []byte, name string, value V) []byte {
	addField(&x.text, name, value)
	out = append(append(out, name...), ": "...)
	return append(append(out, value...), "\r\n"...)
}

// appendProof appends the proof. The text then has the fields of the head too,
// behind those that were appended for the member.
func (x *exchange) appendProof(out []byte) []byte {
	p := &x.proof
	if len(p.keys) == 0 {
		return out
	}
	x.text.b = append(x.text.b, x.forwarded...)
	for rest := x.covered; len(rest) > 0; {
		var name []byte
		name, rest, _ = bytes.Cut(rest, comma)
		for _, f := range x.head.Fields {
			if f.Kind == http1.Other && sameFold(f.Name, name) {
				addField(&x.text, name, f.Value)
			}
		}
	}
	out = append(append(append(append(out, header.Proof...), ": "...), p.self...), '/')
	out = append(out, p.stamp...)
	for i, key := range p.keys {
		mac := key.signer.sum(x.text.b)
		out = base64.RawURLEncoding.AppendEncode(append(out, "/."[min(i, 1)]), mac[:])
	}
	if len(x.covered) > 0 {
		out = append(append(out, '/'), x.covered...)
	}
	return append(out, "\r\n"...)
}

var comma = []byte{','}

// sameFold compares a name with one in lower case.
func sameFold(name, lower []byte) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// cover notes that the proof covers a further field. false says that there are
// too many, so that it is not passed on.
func (x *exchange) cover(name []byte) bool {
	for rest := x.covered; len(rest) > 0; {
		var known []byte
		if known, rest, _ = bytes.Cut(rest, comma); sameFold(name, known) {
			return true
		}
	}
	if len(x.covered)+len(name) > maxProof/2 {
		return false
	}
	if len(x.covered) > 0 {
		x.covered = append(x.covered, ',')
	}
	at := len(x.covered)
	x.covered = append(x.covered, name...)
	http1.Lower(x.covered[at:], name)
	return true
}

// Prove sets the proof of a request that a member passes on by net/http. self
// is the member, and now the time by the receiver's clock. The fields named are
// covered besides those that always are. A Router proves what it passes on by
// itself.
func (k *HopKey) Prove(r *http.Request, self string, now time.Time, fields ...string) {
	stamp, covered := strconv.FormatInt(now.UnixMilli(), 10), strings.ToLower(strings.Join(fields, ","))
	target := r.RequestURI
	if target == "" { // a request that is still to be sent
		target = r.URL.RequestURI()
	}
	var text hopText
	text.of(r.Method, target, self, stamp, covered, func(name string) []string { return r.Header[name] })
	mac := k.signer.sum(text.b)
	proof := self + "/" + stamp + "/" + base64.RawURLEncoding.EncodeToString(mac[:])
	if covered != "" {
		proof += "/" + covered
	}
	r.Header.Set(header.Proof, proof)
}

// Arrived reports whether a member has passed the request on, as its proof
// says: nil for any other sender. An error wraps ErrLateHop. A proof that no
// key makes is counted, and its sender is a stranger.
func (rt *Router) Arrived(r *http.Request) (*Hop, error) {
	proofs := r.Header[header.Proof]
	if len(proofs) == 0 {
		return nil, nil
	}
	return rt.arrived(r.Method, r.RequestURI, proofs, func(name string) []string { return r.Header[name] })
}

// arrived is Arrived for a request whose fields values looks up by their
// canonical names.
func (rt *Router) arrived(method, target string, proofs []string, values func(name string) []string) (*Hop, error) {
	if rt.cfg.Hops == nil {
		return nil, nil
	}
	hop, err := rt.verify(method, target, proofs, values)
	if hop == nil && err == nil {
		rt.counters.unproven.Add(1)
	}
	return hop, err
}

func (rt *Router) verify(method, target string, proofs []string, values func(name string) []string) (*Hop, error) {
	if len(proofs) != 1 || len(proofs[0]) > maxProof {
		return nil, nil
	}
	member, rest, _ := strings.Cut(proofs[0], "/")
	stamp, rest, _ := strings.Cut(rest, "/")
	signatures, covered, _ := strings.Cut(rest, "/")
	ms, err := strconv.ParseInt(stamp, 10, 64)
	var macs [maxMACs][signatureSize + 2]byte // Decode may write in steps of three bytes
	count := 0
	for signature := range strings.SplitSeq(signatures, ".") {
		if err != nil || count == maxMACs || len(signature) != strictBase64.EncodedLen(signatureSize) {
			return nil, nil
		}
		if n, err := strictBase64.Decode(macs[count][:], []byte(signature)); err != nil || n != signatureSize {
			return nil, nil
		}
		count++
	}
	keys, now := rt.cfg.Hops.From(member)
	text := rt.texts.Get().(*hopText)
	defer rt.texts.Put(text)
	text.of(method, target, member, stamp, covered, values)
	if !slices.ContainsFunc(keys, func(key *HopKey) bool {
		sum := key.signer.sum(text.b)
		return slices.ContainsFunc(macs[:count], func(mac [signatureSize + 2]byte) bool { return hmac.Equal(sum[:], mac[:signatureSize]) })
	}) {
		return nil, nil
	}
	if off := now.Sub(time.UnixMilli(ms)); off.Abs() > hopWindow {
		return nil, fmt.Errorf("%w: it is %v old; accepted are %v to %v", ErrLateHop, off.Round(time.Millisecond), -hopWindow, hopWindow)
	}
	hop := &Hop{From: member}
	if covered != "" {
		hop.covered = strings.Split(covered, ",")
	}
	return hop, nil
}

// arrived is Arrived for a request of the Router's own server.
func (x *exchange) arrived() (*Hop, error) {
	var proofs []string
	for _, f := range x.head.Fields {
		if f.Is("holdfast-proof") {
			proofs = append(proofs, string(f.Value))
		}
	}
	if proofs == nil {
		return nil, nil
	}
	return x.rt.arrived(string(x.head.Method), string(x.head.Target), proofs, func(name string) (values []string) {
		for _, f := range x.head.Fields {
			if f.Kind == http1.Other && f.Is(strings.ToLower(name)) {
				values = append(values, string(f.Value))
			}
		}
		return values
	})
}
