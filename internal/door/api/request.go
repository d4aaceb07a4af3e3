package api

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/session"
)

// The bounds of ttl and max_age. A second is the finest grain at which a
// client may rely on expiry; a year is longer than any cookie lives (RFC
// 6265bis, section 5.5, ends them at 400 days).
const (
	minLife = time.Second
	maxLife = 365 * 24 * time.Hour
)

// opaqueField is the name of an opaque value; its content type lies beside it
// in [session.FieldType].
const opaqueField = ""

// opaqueDefault is the content type of a value that came with none (RFC 9110,
// section 8.3).
const opaqueDefault = "application/octet-stream"

// maxType bounds a content type, in bytes, for it is stored with each value.
// Two registered names of 127 make the longest without parameters (RFC 6838,
// section 4.2).
const maxType = 255

// readAck reads Holdfast-Ack.
func readAck(h http.Header) (session.Ack, error) {
	sent := h[header.Ack]
	if len(sent) == 0 {
		return session.AckDefault, nil
	}
	ack, err := session.ParseAck(sent[0])
	if err != nil || sent[0] == "" || len(sent) > 1 {
		return 0, badHeader(fmt.Sprintf("Holdfast-Ack is %.64q; one of async, replica, all is accepted", strings.Join(sent, ", ")))
	}
	return ack, nil
}

// lifetime reads ttl and max_age into op.
func (e *exchange) lifetime(op *session.Op) error {
	return e.parameters(map[string]*time.Duration{"ttl": &op.TTL, "max_age": &op.MaxAge})
}

// noParameters refuses a query where it could only be a mistake.
func (e *exchange) noParameters() error { return e.parameters(nil) }

// parameters reads the query: durations, each at most once. A parameter that
// nothing reads is refused, for a misspelt ttl would otherwise go unnoticed
// until the session outlives its time.
func (e *exchange) parameters(into map[string]*time.Duration) error {
	if e.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(e.r.URL.RawQuery)
	if err != nil {
		return badParameter("the query is malformed: " + err.Error())
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		target := into[name]
		if target == nil {
			return badParameter(fmt.Sprintf("%.64q is not a parameter of this request; accepted: %s", name, accepted(into)))
		}
		if len(query[name]) > 1 {
			return badParameter(name + " is given more than once")
		}
		if *target, err = parseLife(query[name][0]); err != nil {
			return badParameter(name + " " + err.Error())
		}
	}
	return nil
}

func accepted(params map[string]*time.Duration) string {
	if len(params) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(params)), ", ")
}

// parseLife reads a Go duration or a whole number of seconds.
func parseLife(s string) (time.Duration, error) {
	const form = "%.64q: 1s to 8760h is accepted, as a duration (30m, 1h30m) or in whole seconds (1800)"
	d, err := time.ParseDuration(s)
	if seconds, numErr := strconv.ParseUint(s, 10, 64); numErr == nil {
		d, err = time.Duration(min(seconds, uint64(maxLife/time.Second)+1))*time.Second, nil
	}
	if err != nil || d < minLife || d > maxLife {
		return 0, fmt.Errorf(form, s)
	}
	return d, nil
}

// value reads the body as a whole session: the members of a JSON object, or
// opaque bytes with their content type.
func (e *exchange) value() ([]session.Field, error) {
	sent := e.r.Header.Get("Content-Type")
	asJSON := false
	if sent == "" {
		sent = opaqueDefault
	} else {
		media, _, err := mime.ParseMediaType(sent)
		if err != nil || !strings.Contains(media, "/") || len(sent) > maxType {
			return nil, badHeader(fmt.Sprintf("Content-Type is %.64q; type/subtype is accepted, with parameters up to %d bytes", sent, maxType))
		}
		asJSON = media == "application/json" || strings.HasSuffix(media, "+json")
	}
	body, err := e.body()
	if err != nil {
		return nil, err
	}
	if asJSON {
		return readObject(body)
	}
	return []session.Field{
		{Name: opaqueField, Value: string(body)},
		{Name: session.FieldType, Value: sent},
	}, nil
}

// mergePatch reads the body as a JSON merge patch (RFC 7396), whose nulls and
// nested objects it leaves to the owner: see [session.Op.Nested].
func (e *exchange) mergePatch() ([]session.Field, error) {
	media, _, err := mime.ParseMediaType(e.r.Header.Get("Content-Type"))
	if err != nil || media != "application/merge-patch+json" && media != "application/json" {
		e.w.Header().Set("Accept-Patch", "application/merge-patch+json, application/json")
		return nil, unsupportedType("a patch is taken as application/merge-patch+json or application/json")
	}
	body, err := e.body()
	if err != nil {
		return nil, err
	}
	return readObject(body)
}

func readObject(body []byte) ([]session.Field, error) {
	fields, err := splitObject(body)
	if err != nil {
		return nil, badBody("the body is not the JSON of a session: " + err.Error())
	}
	return fields, nil
}

// body reads the request's body, refusing one over MaxSession by its stated
// length or as soon as it proves longer.
func (e *exchange) body() ([]byte, error) {
	if coding := e.r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		// Stored as it is, it would be read back without the word that
		// says how to decode it.
		return nil, unsupportedType("a body is taken without Content-Encoding")
	}
	if e.r.ContentLength > int64(e.MaxSession) {
		e.linger()
		return nil, e.tooLarge()
	}
	e.reading.Store(true)
	e.held = e.Bodies.Open(e.giveUp)
	body, err := e.readBody()
	e.reading.Store(false)
	var r refusal
	switch {
	case e.evicted.Load():
		return nil, noRoom
	case errors.As(err, &r):
		e.linger()
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, bodyTimeout
	case err != nil:
		return nil, badBody("the body broke off")
	case len(body) > e.MaxSession:
		e.linger()
		return nil, e.tooLarge()
	case len(body) > largeBody:
		if !e.carrying.Take(int64(cap(body))) {
			return nil, noRoom
		}
		e.carried = int64(cap(body))
		e.held.Close()
	}
	return body, nil
}

const (
	// firstRoom is what a body of unstated length is given at first, in bytes.
	firstRoom = 4 << 10
	// largeBody is over what most sessions have, in bytes.
	largeBody = 64 << 10
)

// readBody reads the body, or one byte more than may be taken. It takes room
// from the budget before it takes memory, and memory only for what has come and
// as much again: what a client announces costs nothing.
func (e *exchange) readBody() ([]byte, error) {
	room := firstRoom
	if n := e.r.ContentLength; n >= 0 {
		room = int(min(n, largeBody)) + 1 // the end is read with the last byte
	}
	var body []byte
	for {
		if room = min(room, e.MaxSession+1); !e.held.Take(int64(room - cap(body))) {
			return nil, noRoom
		}
		body = append(make([]byte, 0, room), body...)
		for len(body) < cap(body) {
			n, err := e.r.Body.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			if err == io.EOF {
				return body, nil
			}
			if err != nil {
				return nil, err
			}
		}
		if len(body) > e.MaxSession {
			return body, nil
		}
		room = 2 * cap(body)
	}
}

// giveUp ends the reading of a body whose room others need.
func (e *exchange) giveUp() {
	if !e.reading.Load() {
		return // it is small, and soon done
	}
	e.evicted.Store(true)
	_ = http.NewResponseController(e.w).SetReadDeadline(time.Unix(1, 0)) // without deadlines the next growth tells
}

// release gives back what the body has taken.
func (e *exchange) release() {
	if e.held != nil {
		e.held.Close()
		e.carrying.Give(e.carried)
	}
}

const (
	// lingerBytes and lingerTime bound what is read of a body that will not be
	// taken.
	lingerBytes = 16 << 20
	lingerTime  = 2 * time.Second
)

// linger reads on for a while before a body is refused. A connection that is
// closed with bytes unread is reset, and the reset overtakes the answer: the
// client, or the router before it, would see a broken connection and no reason.
// A client that asks before it sends is told at once, and of a body that is
// longer than this would read nothing is read.
func (e *exchange) linger() {
	if e.r.Header.Get("Expect") != "" || e.r.ContentLength > lingerBytes {
		return
	}
	// Without deadlines, as in a test's recorder, the bytes alone are the
	// bound.
	_ = http.NewResponseController(e.w).SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, e.r.Body, lingerBytes) // however it ends, the refusal is next
}
