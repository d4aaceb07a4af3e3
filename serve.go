package holdfast

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

// Sessions runs operations where their keys are owned, as node.Sessions does.
type Sessions interface {
	Get(ctx context.Context, key string) (*session.Record, error)
	Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error)
}

// Binder binds to each request its session. All of its fields are
// required, but Made.
type Binder struct {
	Sessions Sessions
	// Rename makes a new id that nobody can guess, owned where id is.
	Rename func(id string) string
	// Cookie makes the cookie by which a client shows that it has an id.
	Cookie func(id string) *http.Cookie
	// Made says whether the id was made for this very request, so that nobody
	// can have a session under it; nil for never.
	Made     func(r *http.Request) bool
	Counters *Counters
	// Log is told of changes that could not be written, never of what they
	// were.
	Log *slog.Logger
}

// Counters count what became of sessions whose request noticed too late, or not
// at all.
type Counters struct {
	Unsaved atomic.Int64 // requests whose changes could not be written
	Ended   atomic.Int64 // requests whose changes were dropped: see ErrEnded
	Unslid  atomic.Int64 // requests that could not slide the expiry
}

// Serve lets app answer a request of the user id, with the session in its
// context. fixed says that the id is not the client's to change, for it comes
// from a trusted header.
//
// If app panics nothing is written: half a change is worse than none.
func (b *Binder) Serve(w http.ResponseWriter, r *http.Request, app http.Handler, id string, fixed bool) {
	s := &Session{binder: b, ctx: r.Context(), header: w.Header(), id: id, fixed: fixed, made: b.Made != nil && b.Made(r)}
	defer s.finish()
	a := &answer{ResponseWriter: w, session: s}
	app.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), contextKey{}, s)))
	if !a.begun {
		_ = a.begin() // the client has been told
	} else if a.failed == nil {
		s.saveLate()
	}
	s.slide()
}

// answering writes the changes before the answer's first byte.
func (s *Session) answering() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.saveLocked()
	s.answered = true
	if errors.Is(err, ErrEnded) {
		return nil // the answer stands; it is as if the logout had come after it
	}
	return err
}

// saveLate writes what was changed after the answer had begun.
func (s *Session) saveLate() {
	if err := s.Save(); err != nil && !errors.Is(err, ErrEnded) {
		s.binder.Counters.Unsaved.Add(1)
		s.binder.Log.Warn("session not saved, and its client was told nothing of it", "error", err)
	}
}

// slide moves the expiry of a session that was read and not written. The owner
// keeps that to itself until copies need to know, so it costs them little.
func (s *Session) slide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil || s.slid {
		return
	}
	op := session.Op{Kind: session.Touch, Key: s.id}
	if _, err := s.binder.Sessions.Do(context.WithoutCancel(s.ctx), &op, session.AckDefault); err != nil && !gone(err) {
		s.binder.Counters.Unslid.Add(1)
	}
}

func (s *Session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// answer is the ResponseWriter of the application. It has the session saved
// before the answer's first byte leaves. Like any ResponseWriter it is for one
// goroutine at a time.
type answer struct {
	http.ResponseWriter
	session *Session
	begun   bool
	failed  error // the session was not saved, and the client has been told
}

// begin saves the session, once. If it fails, the client gets a 503 and no
// more.
func (a *answer) begin() error {
	if !a.begun {
		a.begun = true
		if a.failed = a.session.answering(); a.failed != nil {
			a.refuse()
		}
	}
	return a.failed
}

// refuse answers in the handler's place. Nothing of what the handler has put
// into the header may be believed now; a new id of the client's must reach it
// all the same.
func (a *answer) refuse() {
	b := a.session.binder
	b.Counters.Unsaved.Add(1)
	b.Log.Warn("session not saved, answered 503", "error", a.failed)
	h := a.Header()
	ours := b.Cookie(a.session.ID()).Name
	keepCookies(h, func(name string) bool { return name == ours })
	for _, name := range []string{"Accept-Ranges", "Content-Disposition", "Content-Language", "Content-Location", "Content-Range", "Expires", "Location", "Refresh", "Trailer"} {
		h.Del(name)
	}
	h.Set("Retry-After", "1")
	detail := "the session could not be saved, and what was asked for is not done; try again in a moment"
	switch {
	case errors.Is(a.failed, session.ErrUncertain):
		detail = "nobody can tell whether the session was saved; look before you ask again"
	case errors.Is(a.failed, session.ErrTooLarge):
		detail = "the session would be larger than this service keeps"
	}
	problem.Write(a.ResponseWriter, http.StatusServiceUnavailable, "session-not-saved", "The session was not saved", detail)
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if 100 <= status && status < 200 && status != http.StatusSwitchingProtocols {
		a.ResponseWriter.WriteHeader(status) // the answer is still to come
		return
	}
	if a.begin() == nil {
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if err := a.begin(); err != nil {
		return 0, err
	}
	return a.ResponseWriter.Write(b)
}

// ReadFrom implements io.ReaderFrom, so that a file can still go out by
// sendfile.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if err := a.begin(); err != nil {
		return 0, err
	}
	return io.Copy(a.ResponseWriter, r)
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() } // the interface has no error

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	if err := a.begin(); err != nil {
		return err
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := a.begin(); err != nil {
		return nil, nil, err
	}
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach everything else.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
