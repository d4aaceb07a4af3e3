package public

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

// Arrival is what is known of a request when it has come in.
type Arrival struct {
	attempt.Attempt
	Hop *router.Hop // the member that has passed it on; nil for none
}

type arrivalKey struct{}

// With returns the request for which [ArrivalOf] will return a.
func (a Arrival) With(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), arrivalKey{}, &a))
}

// ArrivalOf returns how a request has come in. Of one that no member has passed
// on nothing is known, but that its sender may have sent it elsewhere.
func ArrivalOf(ctx context.Context) Arrival {
	if a, ok := ctx.Value(arrivalKey{}).(*Arrival); ok {
		return *a
	}
	return Arrival{Attempt: attempt.Attempt{Fenced: true}}
}

// mark is how a request for a member is marked (header.Fence):
//
//	<partition>/<epoch>/<deadline>
//
// The epoch is that of the member's claim, 0 if it has none, and the deadline
// is in unix ms by the member's clock.
func (e *Endpoint) mark(key string, t router.Target) string {
	p, to := ring.Partition(key), member.ID{Name: t.Name, Boot: t.Boot}
	epoch := uint64(0)
	if d := e.cfg.Owners.Decide(p); d.Verdict == ownership.Forward && d.Owner == to {
		epoch = d.Epoch
	}
	deadline := e.cfg.Now().Add(attempt.Lifetime + e.cfg.Ahead(to))
	var room [48]byte
	mark := append(strconv.AppendInt(room[:0], int64(p), 10), '/')
	mark = append(strconv.AppendUint(mark, epoch, 10), '/')
	return string(strconv.AppendInt(mark, deadline.UnixMilli(), 10))
}

// received reads which attempt a request is that a member has passed on. An
// error says why it must not be run here; it wraps attempt.ErrTooLate or
// attempt.ErrOtherEpoch.
func (e *Endpoint) received(r *http.Request, hop *router.Hop) (attempt.Attempt, error) {
	a := attempt.Attempt{Fenced: true}
	mark := r.Header.Get(header.Fence)
	if mark == "" || hop == nil {
		return a, nil
	}
	p, epoch, deadline, err := parseMark(mark)
	if err != nil {
		return a, err
	}
	a.Deadline, a.Sent = deadline, deadline.Add(-attempt.Lifetime)
	if name := r.Header.Get(header.Attempt); name != "" {
		id, unanswered, err := router.ParseAttempt(name)
		if err != nil {
			return a, fmt.Errorf("%w: %w", attempt.ErrTooLate, err)
		}
		a.ID, a.Repeat = id, unanswered > 0
	}
	if err := e.cfg.TooLate(a); err != nil {
		return a, err
	}
	if !e.cfg.InForce(p, epoch) {
		return a, attempt.ErrOtherEpoch
	}
	return a, nil
}

// parseMark reads what mark has written.
func parseMark(mark string) (p int, epoch uint64, deadline time.Time, err error) {
	part, rest, _ := strings.Cut(mark, "/")
	claim, until, _ := strings.Cut(rest, "/")
	p, err = strconv.Atoi(part)
	epoch, claimErr := strconv.ParseUint(claim, 10, 64)
	ms, untilErr := strconv.ParseInt(until, 10, 64)
	if err = errors.Join(err, claimErr, untilErr); err != nil || p < 0 || p >= ring.Partitions {
		return 0, 0, time.Time{}, fmt.Errorf("%w: %s is %.64q; <partition>/<epoch>/<unix ms> is accepted", attempt.ErrTooLate, header.Fence, mark)
	}
	return p, epoch, time.UnixMilli(ms), nil
}
