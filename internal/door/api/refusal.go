package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/problem"
	"github.com/seed-95a32959/holdfast/session"
)

// refusal is a request's end in a problem document. The slug is the stable
// last part of the document's type.
type refusal struct {
	status              int
	slug, title, detail string
	retryAfter          int  // seconds; 0: no such advice
	elsewhere           bool // nothing was done here; a router may ask the successor
}

func (r refusal) Error() string { return r.slug + ": " + r.detail }

// The refusals of the request itself.

func badKey(detail string) error {
	return refusal{status: http.StatusBadRequest, slug: "bad-key", title: "Bad key", detail: detail}
}

func badHeader(detail string) error {
	return refusal{status: http.StatusBadRequest, slug: "bad-header", title: "Bad request header", detail: detail}
}

func badParameter(detail string) error {
	return refusal{status: http.StatusBadRequest, slug: "bad-parameter", title: "Bad query parameter", detail: detail}
}

func badBody(detail string) error {
	return refusal{status: http.StatusBadRequest, slug: "bad-body", title: "Bad body", detail: detail}
}

func unsupportedType(detail string) error {
	return refusal{status: http.StatusUnsupportedMediaType, slug: "unsupported-media-type", title: "Unsupported media type", detail: detail}
}

func methodNotAllowed(method, allow string) error {
	return refusal{status: http.StatusMethodNotAllowed, slug: "method-not-allowed", title: "Method not allowed",
		detail: fmt.Sprintf("%.32q is not a method of this resource; accepted: %s", method, allow)}
}

func (d *door) tooLarge() error {
	return refusal{status: http.StatusRequestEntityTooLarge, slug: "too-large", title: "Session too large",
		detail: fmt.Sprintf("a session holds at most %d bytes", d.MaxSession)}
}

var (
	bodyTimeout = refusal{status: http.StatusRequestTimeout, slug: "body-timeout", title: "The request body did not come in time",
		detail: "the client has sent too little of it for too long"}
	noRoom = refusal{status: http.StatusServiceUnavailable, slug: "no-room-for-body", title: "No room for the body",
		detail: "the bodies of other requests take all of it just now; nothing was changed", retryAfter: 1}
)

var unknownPath = refusal{status: http.StatusNotFound, slug: "unknown-path", title: "Unknown path",
	detail: "there are /v1/sessions, /v1/sessions/{id}, /v1/sessions/{id}/touch, /v1/sessions/{id}/rotate and /v1/users/{user}/sessions; a slash in an id is sent as %2F"}

// outcomes are the refusals of the operation, in the order in which they are
// looked for: the first two may well wrap one of the others as their cause.
var outcomes = []struct {
	err error
	refusal
}{
	{session.ErrUncertain, uncertain},
	{session.ErrUnavailable, unavailable},
	{session.ErrNotServed, unavailable},
	{session.ErrNotFound, refusal{status: http.StatusNotFound, slug: "not-found", title: "No such session",
		detail: "there is no such session, or it has expired"}},
	{session.ErrDeleted, refusal{status: http.StatusGone, slug: "deleted", title: "Session deleted",
		detail: "this session was ended; If-None-Match: * on PUT creates a new one on purpose"}},
	{session.ErrPrecondition, refusal{status: http.StatusPreconditionFailed, slug: "precondition-failed", title: "Precondition failed",
		detail: "the session is not in the state that If-Match or If-None-Match asks for"}},
	{session.ErrType, refusal{status: http.StatusConflict, slug: "type-conflict", title: "Not a JSON session",
		detail: "the session is an opaque value or a set, which has no fields to patch; PUT with Content-Type: application/json replaces it"}},
	{session.ErrMalformed, refusal{status: http.StatusBadRequest, slug: "bad-body", title: "Bad body",
		detail: "the patch cannot be merged into the session"}},
	{session.ErrKey, refusal{status: http.StatusBadRequest, slug: "bad-key", title: "Bad key",
		detail: "the store does not accept this key"}},
	{session.ErrFull, refusal{status: http.StatusInsufficientStorage, slug: "full", title: "Memory limit reached",
		detail: "no session can be made or grow now; those that there are can be read, written no larger, and deleted", retryAfter: 10}},
	{session.ErrBusy, refusal{status: http.StatusServiceUnavailable, slug: "busy", title: "Session busy",
		detail: "others wrote to this large session each time before this request was done; nothing was changed", retryAfter: 1}},
	{context.DeadlineExceeded, uncertain},
	{context.Canceled, uncertain}, // the client is gone, or the node is stopping
}

// rotated is deleted for a session that lives on under a new id. It is as much
// of a refusal, to a rotation that comes second too: who follows gives the new
// id to whoever had the old one, and has to mean that. A success or a redirect
// would be followed by clients that do not know what they do.
var rotated = refusal{status: http.StatusGone, slug: "rotated", title: "Session rotated",
	detail: fmt.Sprintf("this session has a new id, to which Location leads for %v from its rotation on; the old id is as good as deleted", session.MovedFor)}

// Only what certainly ran nowhere is offered to the successor: a request of
// unknown outcome may be sent again by the client alone, who knows what that
// means.
var (
	unavailable = refusal{status: http.StatusServiceUnavailable, slug: "unavailable", title: "Owner unavailable",
		detail: "the session's owner cannot be reached just now; nothing was changed", retryAfter: 1, elsewhere: true}
	uncertain = refusal{status: http.StatusGatewayTimeout, slug: "outcome-unknown", title: "No answer from the owner",
		detail: "the session's owner did not answer; a change may or may not have been made", retryAfter: 1}
)

// internalError is told when the fault is ours. What it was stands in the log.
var internalError = refusal{status: http.StatusInternalServerError, slug: "internal", title: "Internal error",
	detail: "the request failed by a fault of this node, which has logged it"}

// refuse ends the exchange with a problem document about err.
func (e *exchange) refuse(err error) {
	r := e.refusalOf(err)
	h := e.w.Header()
	if moved, ok := errors.AsType[*session.MovedError](err); ok && e.lead(moved.To) {
		h.Set("Location", pathOf(moved.To))
		r = rotated
	}
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.elsewhere {
		h.Set(header.Retry, header.RetryElsewhere)
	}
	e.started = true
	problem.Write(e.w, r.status, r.slug, r.title, r.detail)
}

func (e *exchange) refusalOf(err error) refusal {
	if r, ok := errors.AsType[refusal](err); ok {
		return r
	}
	if errors.Is(err, session.ErrTooLarge) {
		return e.tooLarge().(refusal)
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.refusal
		}
	}
	e.log("request failed", "err", e.redact(err.Error()))
	return internalError
}

// recover turns a panic into a problem document, or, when part of the answer
// has left already, into a broken connection, so that no client takes half an
// answer for a whole one.
func (e *exchange) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	e.log("request panicked", "panic", e.redact(fmt.Sprint(cause)), "stack", string(debug.Stack()))
	if e.started {
		panic(http.ErrAbortHandler)
	}
	e.refuse(internalError)
}

// log writes one error line about this exchange, with its key as a hash.
func (e *exchange) log(msg string, args ...any) {
	e.Log.With("method", e.r.Method, "key_hash", fmt.Sprintf("%016x", session.KeyHash(e.key))).Error(msg, args...)
}

// redact takes the key out of a text that some error made of it.
func (e *exchange) redact(text string) string {
	if e.key == "" {
		return text
	}
	return strings.ReplaceAll(text, e.key, "…")
}
