package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/session"
)

// sign notes in the header who ran the operation and by which ring.
func (e *exchange) sign(reply session.Reply) {
	h := e.w.Header()
	if reply.Node != "" {
		h.Set(header.Node, reply.Node)
	}
	if reply.Ring != "" {
		h.Set(header.Ring, reply.Ring)
	}
	if reply.Degraded {
		h.Set(header.Degraded, "1")
	}
	if reply.Unconfirmed {
		h.Set(header.Unconfirmed, "1")
	}
}

// write runs a changing op and notes how many copies have it, and the version
// that it made.
func (e *exchange) write(op *session.Op) (session.Reply, error) {
	reply, err := e.do(op)
	if err != nil {
		return reply, err
	}
	e.w.Header().Set(header.Acked, strconv.Itoa(reply.Acked))
	e.tag(reply)
	return reply, nil
}

// tag notes the version of the session that there is now. A deleted one has
// none.
func (e *exchange) tag(reply session.Reply) {
	if rec := reply.Record; rec != nil && !rec.Dead() {
		e.w.Header()["Etag"] = []string{etag(rec.Version())}
	}
}

// represent answers with the session itself: its fields as a JSON object, or
// the bytes of an opaque value under their own content type. A set that the
// Redis protocol made is an array of its members, and a sorted set an object
// of their scores.
func (e *exchange) represent(reply session.Reply) {
	e.tag(reply)
	value, opaque := reply.Record.Opaque()
	if !opaque {
		write := joinObject
		if reply.Record.Kind() == session.KindSet {
			write = joinMembers
		}
		e.answer(http.StatusOK, "application/json", write(reply.Record.Fields()))
		return
	}
	contentType, ok := reply.Record.Value(session.FieldType)
	if !ok { // it came by another door
		contentType = opaqueDefault
	}
	// The bytes and their type are whatever some client sent, and this
	// address may be the application's own: no browser shall run them here.
	e.w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	e.answer(http.StatusOK, contentType, value)
}

// located answers that a session is now found under id.
func (e *exchange) located(id string) {
	e.w.Header().Set("Location", pathOf(id))
	body, err := json.Marshal(struct {
		ID string `json:"id"`
	}{id})
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	e.answer(http.StatusCreated, "application/json", string(body))
}

// pathOf is where a session is found.
func pathOf(id string) string { return "/v1/sessions/" + url.PathEscape(id) }

// lead notes in the header under which id a session goes on since a rotation,
// if the client may know, and reports whether it does now.
func (e *exchange) lead(to string) bool {
	if to == "" || e.Untold(e.r) {
		return false
	}
	e.w.Header().Set("Link", "<"+pathOf(to)+`>; rel="successor-version"`) // RFC 5829
	return true
}

// deleted answers a delete: done, or done here while a copy that could be
// reached has still to say so.
func (e *exchange) deleted(reply session.Reply) {
	e.lead(reply.Moved)
	if reply.Unconfirmed {
		e.bare(http.StatusAccepted)
	} else {
		e.bare(http.StatusNoContent)
	}
}

// bare answers with a status and headers only.
func (e *exchange) bare(status int) {
	e.started = true
	e.w.WriteHeader(status)
}

// answer writes the whole answer. To HEAD net/http sends all but the body.
func (e *exchange) answer(status int, contentType, body string) {
	h := e.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	e.bare(status)
	// An error means that the client is gone, and there is nobody left to
	// tell.
	_, _ = io.WriteString(e.w, body)
}
