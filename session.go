package holdfast

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed-95a32959/holdfast/session"
)

// The errors of a Session, beside those of package session, such as
// session.ErrUnavailable and session.ErrUncertain. Test them with [errors.Is].
var (
	// ErrEnded says that the session was logged out, moved to another id or
	// expired after this request had read it. It stays so: what the request has
	// changed is dropped.
	ErrEnded = errors.New("session ended while the request ran")
	// ErrAnswered says that the answer has begun, so that the client cannot be
	// told its new id any more, or that the request is over.
	ErrAnswered = errors.New("the answer has begun already")
	// ErrName says that a field's name is empty, not UTF-8, or begins with a
	// zero byte.
	ErrName = errors.New("not the name of a session field")
)

// Session is the session of one request. The goroutines of the request may use
// it in parallel; it ends with the handler.
type Session struct {
	binder *Binder
	ctx    context.Context // the request's, whose child the Session is
	header http.Header     // of the answer
	fixed  bool            // the id is not the client's to change

	// mu guards all below. It is held while the session is read or written:
	// only goroutines of this request wait for it, and they need just that.
	mu       sync.Mutex
	id       string
	read     bool            // rec says what there is
	rec      *session.Record // as read or last written; nil for none
	changes  []session.Field // not written yet; each name once
	idle     time.Duration   // to be written; 0: as it is
	maxAge   time.Duration
	ack      session.Ack
	ended    bool // see ErrEnded
	made     bool // the id was made for this request, which has written nothing
	worn     bool // the id's session was ended before; see renewWornLocked
	slid     bool // written, and thereby slid, by this request
	answered bool // the answer's header has left
	over     bool // the handler has returned
}

type contextKey struct{}

// FromContext returns the session of the request that ctx belongs to. It panics
// if there is none, for then the handler is not served through a node.
func FromContext(ctx context.Context) *Session {
	s, _ := ctx.Value(contextKey{}).(*Session)
	if s == nil {
		panic("holdfast: no session in this context; serve the handler by node.Config.Handler or Node.Handler")
	}
	return s
}

// ID returns the session's id, which is also what the user is pinned by. It is
// as good as a password, and does not belong in logs or pages.
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Get returns a field of the session, and whether it has one of that name.
// Bytes that are not JSON, as the Redis protocol may have written them, are
// read as a string. An error says that the session could not be read, or that
// the field holds no T.
func Get[T any](s *Session, name string) (value T, ok bool, err error) {
	text, ok, err := s.lookUp(name)
	if err != nil || !ok {
		return value, false, err
	}
	if err := decode(text, &value); err != nil {
		var none T
		return none, false, fmt.Errorf("session field %q is no %T: %w", name, none, err)
	}
	return value, true, nil
}

// decode reads a field's value. Most are strings without escapes, for which it
// needs no parser.
func decode(text string, into any) error {
	if into, ok := into.(*string); ok {
		if plain(text) {
			*into = text[1 : len(text)-1]
			return nil
		}
		if !json.Valid([]byte(text)) && utf8.ValidString(text) {
			*into = text
			return nil
		}
	}
	return json.Unmarshal([]byte(text), into)
}

// plain says whether text is a JSON string of printable ASCII without escapes.
func plain(text string) bool {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return false
	}
	for _, c := range []byte(text[1 : len(text)-1]) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (s *Session) lookUp(name string) (text string, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readLocked(); err != nil {
		return "", false, err
	}
	for i := range s.changes {
		if f := &s.changes[i]; f.Name == name {
			return f.Value, !f.Absent, nil
		}
	}
	text, ok = s.storedLocked(name)
	return text, ok, nil
}

// storedLocked returns a field as it was read or last written.
func (s *Session) storedLocked(name string) (string, bool) {
	if s.rec == nil || session.Reserved(name) {
		return "", false
	}
	return s.rec.Value(name)
}

// Set gives a field a value, anything that encoding/json can write. It is
// written when the answer begins, if it differs from what the request has read.
func (s *Session) Set(name string, value any) error {
	if name == "" || session.Reserved(name) || !utf8.ValidString(name) {
		return fmt.Errorf("set session field %q: %w", name, ErrName)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("set session field %q: %w", name, err)
	}
	return s.change(session.Field{Name: name, Value: string(text)})
}

// Delete removes a field. That there is none is no error.
func (s *Session) Delete(name string) error {
	return s.change(session.Field{Name: name, Absent: true})
}

func (s *Session) change(f session.Field) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return err
	}
	s.changes = slices.DeleteFunc(s.changes, func(old session.Field) bool { return old.Name == f.Name })
	stored, ok := s.storedLocked(f.Name)
	if same := ok && !f.Absent && stored == f.Value || !ok && f.Absent; !same {
		s.changes = append(s.changes, f)
	}
	return nil
}

// Lifetime sets the idle time after which the session ends, and its longest
// life from its creation on. 0 leaves it as it is, below 0 takes it off.
func (s *Session) Lifetime(idle, maxAge time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writableLocked(); err != nil {
		return err
	}
	if idle != 0 {
		s.idle = idle
	}
	if maxAge != 0 {
		s.maxAge = maxAge
	}
	return nil
}

// Ack says how many copies the changes of this request wait for, in place of
// the node's own setting: session.AckReplica where a change must survive
// the loss of this node at any moment.
func (s *Session) Ack(ack session.Ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ack = ack
}

// writableLocked reads the session and says whether it can be changed.
func (s *Session) writableLocked() error {
	if s.over {
		return ErrAnswered
	}
	if err := s.readLocked(); err != nil {
		return err
	}
	if s.ended {
		return ErrEnded
	}
	return nil
}

// readLocked reads the session, the first time that it is needed.
func (s *Session) readLocked() error {
	if s.read {
		return nil
	}
	rec, err := s.binder.Sessions.Get(s.ctx, s.id)
	s.worn = false
	switch {
	case gone(err) && s.rec != nil:
		s.endLocked()
	case gone(err):
		// What is set from here on begins a new session: this request has
		// nothing of the session before. After a logout it takes a new id,
		// unless a trusted header names the user.
		s.worn = !s.fixed && errors.Is(err, session.ErrDeleted)
	case err != nil:
		return fmt.Errorf("read session: %w", err)
	default:
		if _, opaque := rec.Opaque(); opaque {
			return fmt.Errorf("read session: %w", session.ErrType)
		}
		s.rec = rec
	}
	s.read = true
	return nil
}

// Reload reads the session anew, as a handler must that runs for long: another
// request may have changed it, or logged it out ([ErrEnded]). Changes that are
// not written yet stay.
func (s *Session) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = s.ended // what has ended stays so
	if err := s.readLocked(); err != nil {
		return err
	}
	if s.ended {
		return ErrEnded
	}
	return nil
}
