package router

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/seed-95a32959/holdfast/internal/http1"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	defaultUserHeader = "X-User-ID"
	defaultCookie     = "holdfast"
	prefixHost        = "__Host-" // of a cookie that is bound to its host, which takes TLS

	// Random bytes in a new id: 144 bits, above the 128 that make guessing
	// hopeless, and 24 characters without padding.
	idSize = 18
	// Bytes kept of the HMAC: 128 bits, half of SHA-256's output, the least
	// that RFC 2104 (section 5) advises.
	signatureSize = 16
	minSecret     = 16 // bytes of a secret, so that it is no easier to guess than a signature
)

// strictBase64 refuses a last character with stray low bits, so that a
// signature has one spelling only.
var strictBase64 = base64.RawURLEncoding.Strict()

// Finder tells which user a request is of. Its zero fields have the defaults
// stated; only Secrets must be given. It may be used from many goroutines, and
// must not be changed after its first use.
type Finder struct {
	// Names the user, believed from trusted peers only; default X-User-ID.
	UserHeader string
	// Whether a peer's address is a trusted proxy's; default loopback.
	Trust func(netip.Addr) bool
	// Further headers that trusted proxies may set, beside UserHeader,
	// X-Real-IP and those X-Forwarded-* that name no user.
	Proxy []string
	// Name of the signed cookie; default holdfast. Secure puts "__Host-" before
	// it.
	Cookie string
	// 16 bytes or more each: the first signs, all verify, so that a secret can
	// be replaced without losing a user.
	Secrets [][]byte
	// The site is served over TLS: the cookie is Secure and bound to its host.
	Secure bool
	Rand   io.Reader // source of new ids; default crypto/rand

	once    sync.Once
	header  string   // UserHeader, canonical
	lower   string   // the same in lower case
	proxy   []string // Proxy, in lower case
	name    string   // Cookie, with its prefix
	prefix  []byte   // name and the equals sign behind it
	signers []*signer
}

// Validate says what of the Finder cannot work.
func (f *Finder) Validate() error {
	if len(f.Secrets) == 0 {
		return errors.New("finder secrets: none given; at least one is needed to sign cookies, the same on every member")
	}
	for i, secret := range f.Secrets {
		if len(secret) < minSecret {
			return fmt.Errorf("finder secret %d: %d bytes; %d or more are accepted", i+1, len(secret), minSecret)
		}
	}
	f.once.Do(f.init)
	if err := (&http.Cookie{Name: f.name, Value: "x"}).Valid(); err != nil {
		return fmt.Errorf("finder cookie %q: %w", f.Cookie, err)
	}
	return nil
}

func (f *Finder) init() {
	f.header, f.name = defaultUserHeader, defaultCookie
	if f.UserHeader != "" {
		f.header = f.UserHeader
	}
	f.header = http.CanonicalHeaderKey(f.header)
	if f.Cookie != "" {
		f.name = f.Cookie
	}
	if f.Secure {
		// Browsers then refuse one set by a sibling domain or without TLS.
		f.name = prefixHost + f.name
	}
	for _, name := range f.Proxy {
		f.proxy = append(f.proxy, strings.ToLower(name))
	}
	f.lower, f.prefix = strings.ToLower(f.header), []byte(f.name+"=")
	for _, secret := range f.Secrets {
		f.signers = append(f.signers, newSigner(secret))
	}
}

// Find returns the user that the request is of: the key that it is pinned by.
// In this order it is
//
//   - the id of /v1/sessions/{id}…, or "{user}" for /v1/users/{user}/…,
//   - the id in the signed cookie, unless there are several that name different
//     ones,
//   - the user header, when the peer is trusted,
//   - a new random id.
//
// A cookie is returned when the answer must set one: for a new id, and for an
// id signed by a secret that is on its way out. The user is "" for a path of
// the session API that names no user; any member may answer it.
func (f *Finder) Find(r *http.Request) (user string, setCookie *http.Cookie) {
	user, _, setCookie = f.FindOrMake(r)
	return user, setCookie
}

// FindOrMake is Find, and says too whether the user's id was made for this
// request, so that nobody can have a session under it.
func (f *Finder) FindOrMake(r *http.Request) (user string, made bool, setCookie *http.Cookie) {
	f.once.Do(f.init)
	p, err := parsePath(escapedPath(r.URL))
	if err != nil || p.call != callApp {
		return p.key, false, nil
	}
	var room [4]http1.Field
	return f.find(appendCookies(room[:0], r), r.Header.Get(f.header), f.trusts(peerOf(r)))
}

// find is FindOrMake for an application request, given its fields, what the
// user header says, and whether that is believed.
func (f *Finder) find(fields []http1.Field, header string, believed bool) (user string, made bool, setCookie *http.Cookie) {
	if id, current, ok := f.pinned(fields); ok {
		if !current {
			setCookie = f.newCookie(id)
		}
		return id, false, setCookie
	}
	if user := strings.TrimSpace(header); user != "" && len(user) <= session.MaxKey && believed {
		return user, false, nil
	}
	id := f.newID()
	return id, true, f.newCookie(id)
}

// pinned returns the id in the signed cookie, and whether the first secret
// signed it. Two cookies that name two ids are as good as none: one is the
// client's, and an attacker may have planted the other in its browser, by a
// sibling domain or for a narrower path. The request does not say which is
// which.
func (f *Finder) pinned(fields []http1.Field) (id string, current, ok bool) {
	for _, field := range fields {
		if field.Kind != http1.Cookie {
			continue
		}
		for rest, pair := field.Value, []byte(nil); len(rest) > 0; {
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			value, named := bytes.CutPrefix(bytes.TrimLeft(pair, " \t"), f.prefix)
			if !named {
				continue
			}
			name, first, verified := f.verify(bytes.TrimRight(value, " \t"))
			switch {
			case !verified:
			case ok && string(name) != id:
				return "", false, false
			case !ok:
				id, current, ok = string(name), first, true
			default:
				current = current && first
			}
		}
	}
	return id, current, ok
}

// trusts reports whether what the peer says about its client is believed.
func (f *Finder) trusts(peer netip.Addr) bool {
	if !peer.IsValid() {
		return false
	}
	if f.Trust == nil {
		return peer.IsLoopback()
	}
	return f.Trust(peer)
}

// peerOf returns the address at the other end of the connection, or the zero
// Addr when it has none (a Unix socket).
func peerOf(r *http.Request) netip.Addr { return addrOf(r.RemoteAddr) }

// newID makes an id that nobody can guess.
func (f *Finder) newID() string {
	var b [idSize]byte
	source := f.Rand
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, b[:]); err != nil {
		// crypto/rand does not fail. A Rand of the program's own that fails
		// would make users share ids.
		panic(fmt.Sprintf("router: Finder.Rand failed: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// newCookie makes the cookie that keeps id: the id, a dot, and its signature by
// the first secret.
func (f *Finder) newCookie(id string) *http.Cookie {
	if len(f.signers) == 0 {
		panic("router: a Finder without Secrets cannot sign a cookie; call Validate")
	}
	sum := f.signers[0].sum([]byte(id))
	return &http.Cookie{
		Name: f.name, Value: id + "." + base64.RawURLEncoding.EncodeToString(sum[:]), Path: "/",
		HttpOnly: true, Secure: f.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// verify returns the id of a cookie's value, and whether the first secret
// signed it. ok is false for one that none of the secrets signed.
func (f *Finder) verify(value []byte) (id []byte, current, ok bool) {
	dot := bytes.LastIndexByte(value, '.')
	if dot <= 0 || len(value)-dot-1 != strictBase64.EncodedLen(signatureSize) || dot > session.MaxKey {
		return nil, false, false
	}
	var given [signatureSize + 2]byte // Decode may write in steps of three bytes
	if n, err := strictBase64.Decode(given[:], value[dot+1:]); err != nil || n != signatureSize {
		return nil, false, false
	}
	for i, s := range f.signers {
		if sum := s.sum(value[:dot]); hmac.Equal(sum[:], given[:signatureSize]) {
			return value[:dot], i == 0, true
		}
	}
	return nil, false, false
}

// signer computes signatures under one secret. The keyed hash states are
// pooled: keying one costs more than hashing an id.
type signer struct{ hashes sync.Pool }

// keyed is a keyed hash, and room for what it sums up.
type keyed struct {
	hash.Hash
	full [sha256.Size]byte
}

func newSigner(secret []byte) *signer {
	secret = append([]byte(nil), secret...)
	return &signer{hashes: sync.Pool{New: func() any { return &keyed{Hash: hmac.New(sha256.New, secret)} }}}
}

func (s *signer) sum(text []byte) (out [signatureSize]byte) {
	h := s.hashes.Get().(*keyed)
	h.Reset()
	_, _ = h.Write(text) // a hash never fails to take bytes
	copy(out[:], h.Sum(h.full[:0]))
	s.hashes.Put(h)
	return out
}
