package public

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// Secrets are what this member signs by, and what it believes: cookies by the
// secret that all members share, or by one of its own where they share none,
// and what it passes on by the shared one or by the gossip key.
type Secrets struct {
	shared, own []byte // shared is nil for none; own signs cookies
	old, gossip [][]byte

	differ map[member.ID]struct{} // named by differing
}

// NewSecrets returns the secrets of a member. shared signs; old ones have, and
// are still believed. Without a shared one cookies are signed by a random one.
// gossip are the keys of gossip, of which the first encrypts.
func NewSecrets(shared []byte, old, gossip [][]byte) *Secrets {
	s := &Secrets{shared: shared, own: shared, old: old, gossip: gossip, differ: make(map[member.ID]struct{})}
	if s.own == nil {
		s.own = make([]byte, 32)
		rand.Read(s.own)
	}
	return s
}

// Cookies are the secrets of cookies: the first signs, all are believed.
func (s *Secrets) Cookies() [][]byte { return append([][]byte{s.own}, s.old...) }

// Tag is what others are told of the secret that signs this member's cookies.
func (s *Secrets) Tag() string { return tagOf(s.own) }

func tagOf(secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("holdfast: tag of a cookie secret"))
	return string(mac.Sum(nil)[:member.SecretTagSize])
}

// believes says whether this member verifies cookies by the secret of a tag. A
// member that is about to change to a newer one signs by an older one still.
func (s *Secrets) believes(tag string) bool {
	return slices.ContainsFunc(s.Cookies(), func(secret []byte) bool { return tag == tagOf(secret) })
}

// differing names the members of a view whose cookies this one does not
// believe, each boot once. It is for one goroutine.
func (s *Secrets) differing(view *member.View) (names []string) {
	for id := range s.differ {
		if view.Member(id) == nil {
			delete(s.differ, id)
		}
	}
	for _, m := range view.Members {
		_, named := s.differ[m.ID]
		if !m.Up || named || m.Secret == "" || s.believes(m.Secret) {
			continue
		}
		s.differ[m.ID] = struct{}{}
		names = append(names, m.Name)
	}
	return names
}

// hopsFrom are the secrets by which others may prove what they pass on to this
// member.
func (s *Secrets) hopsFrom() [][]byte {
	switch {
	case s.shared != nil:
		return append([][]byte{s.shared}, s.old...)
	case len(s.gossip) > 0:
		return s.gossip
	default:
		return [][]byte{nil}
	}
}

// hopsTo are the secrets that prove what is passed on to m. Its metadata says
// by which it signs its cookies. If that is none of this member's it may have
// none of the operator's, but a random one, or it is about to change its
// secret.
func (s *Secrets) hopsTo(m *member.Member) (secrets [][]byte) {
	if s.shared != nil && m.Secret != "" {
		for _, secret := range append([][]byte{s.shared}, s.old...) {
			if tagOf(secret) == m.Secret {
				return [][]byte{secret}
			}
		}
		secrets = append(secrets, s.shared)
	}
	if len(s.gossip) > 0 {
		return append(secrets, s.gossip[0])
	}
	return append(secrets, nil)
}
