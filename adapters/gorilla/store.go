// Package gorilla lets github.com/gorilla/sessions keep its sessions in
// Holdfast:
//
//	store := holdfastgorilla.New(n.Sessions(), [][]byte{key})
//	s, err := store.Get(r, "login")
//
// The cookie holds the session's id, signed; the values stay in the cluster. A
// Save that comes after the session was deleted, as by a request that was
// slower than the logout, is an error that wraps session.ErrDeleted of package
// session: the session stays logged out.
package gorilla

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/seed-95a32959/holdfast/adapters/internal/opaque"
	"github.com/seed-95a32959/holdfast/session"
)

// Prefix begins the keys of all sessions. A session i that is named login is
// the session "gorilla:login:i", so that one name's id is no other's.
const Prefix = "gorilla:"

// browserSession is how long a session is kept whose cookie ends with the
// browser (MaxAge 0), which does not say when that is.
const browserSession = 24 * time.Hour

// Store implements sessions.Store.
type Store struct {
	// Codecs sign the cookies, and encrypt them where they have a key for it.
	Codecs []securecookie.Codec
	// Options are those that a new session begins with. Its MaxAge is how long
	// a session is kept after each Save.
	Options sessions.Options

	values     opaque.Values
	serializer securecookie.GobEncoder
}

// Option changes how a Store works.
type Option func(*Store)

// WithPrefix replaces [Prefix], where programs that must not see each other's
// sessions share a cluster.
func WithPrefix(prefix string) Option { return func(s *Store) { s.values.Prefix = prefix } }

// WithAck says what Save waits for, in place of the node's own setting.
func WithAck(ack session.Ack) Option { return func(s *Store) { s.values.Ack = ack } }

// New returns a Store over the sessions of a cluster, which node.Sessions are.
// The keys sign the cookies: the first signs, all verify. All nodes need the
// same.
func New(cluster opaque.Sessions, keys [][]byte, options ...Option) *Store {
	s := &Store{
		Options: sessions.Options{Path: "/", MaxAge: 30 * 24 * 60 * 60, HttpOnly: true, SameSite: http.SameSiteLaxMode},
		values:  opaque.Values{Sessions: cluster, Prefix: Prefix},
	}
	for _, key := range keys {
		// The cluster knows when a session ends; the cookie need not say it
		// too.
		codec := securecookie.New(key, nil)
		codec.MaxAge(0)
		s.Codecs = append(s.Codecs, codec)
	}
	for _, o := range options {
		o(s)
	}
	return s
}

// Get returns the request's session of that name, the same at each call.
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the request's session of that name, or begins one. It returns a new
// session beside any error: the cookie was not signed with one of the keys, or
// the cluster could not be asked.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	options := s.Options
	session.Options, session.IsNew = &options, true
	cookie, err := r.Cookie(name)
	if err != nil {
		return session, nil // it has none
	}
	var id string
	if err := securecookie.DecodeMulti(name, cookie.Value, &id, s.Codecs...); err != nil {
		return session, fmt.Errorf("read session cookie: %w", err)
	}
	data, found, err := s.values.Get(r.Context(), name+":"+id)
	if err != nil || !found {
		return session, err // an id whose session is over is not used again
	}
	if err := s.serializer.Deserialize(data, &session.Values); err != nil {
		return session, fmt.Errorf("read session: %w", err)
	}
	session.ID, session.IsNew = id, false
	return session, nil
}

// Save stores the session and sets its cookie; with Options.MaxAge below 0 it
// deletes both.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge < 0 {
		if session.ID != "" {
			if err := s.values.Delete(r.Context(), session.Name()+":"+session.ID); err != nil {
				return err
			}
		}
		http.SetCookie(w, sessions.NewCookie(session.Name(), "", session.Options))
		return nil
	}
	if session.ID == "" {
		session.ID = rand.Text()
	}
	data, err := s.serializer.Serialize(session.Values)
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	age := browserSession
	if session.Options.MaxAge > 0 {
		age = time.Duration(session.Options.MaxAge) * time.Second
	}
	if err := s.values.Put(r.Context(), session.Name()+":"+session.ID, data, time.Now().Add(age)); err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	value, err := securecookie.EncodeMulti(session.Name(), session.ID, s.Codecs...)
	if err != nil {
		return fmt.Errorf("sign session cookie: %w", err)
	}
	http.SetCookie(w, sessions.NewCookie(session.Name(), value, session.Options))
	return nil
}

// Renew gives the session a new id at its next Save, and ends the old one. Call
// it when the user logs in: an id that an attacker planted before is worth
// nothing afterwards.
func (s *Store) Renew(r *http.Request, session *sessions.Session) error {
	if session.ID == "" {
		return nil
	}
	if err := s.values.Delete(r.Context(), session.Name()+":"+session.ID); err != nil {
		return err
	}
	session.ID = ""
	return nil
}
