// Package problem writes error answers as RFC 9457 problem documents.
//
// Every error that Holdfast itself gives over HTTP has this form, so that a
// program can tell them apart by their `type`, which is a URI that never
// changes, and a person can read their `title` and `detail`.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Base is the URI under which all problem types live. A type is Base followed
// by its slug.
const Base = "https://holdfast.dev/problems/"

// ContentType is the media type of a problem document (RFC 9457, section 3).
const ContentType = "application/problem+json"

// Document is the body of an error answer.
type Document struct {
	Type  string `json:"type"`  // stable URI, what went wrong
	Title string `json:"title"` // the same for every occurrence of the type
	// The HTTP status, repeated for those who see only the body.
	Status int `json:"status"`
	// This occurrence: what was given, and what would be accepted.
	Detail string `json:"detail,omitempty"`
}

// Body returns the problem Base+slug as the bytes of an answer's body.
func Body(status int, slug, title, detail string) []byte {
	// A struct of three strings and an integer always marshals: invalid UTF-8
	// becomes U+FFFD.
	body, _ := json.Marshal(Document{Type: Base + slug, Title: title, Status: status, Detail: detail})
	return append(body, '\n')
}

// Write answers with the problem Base+slug. Headers that described the answer
// which is now not given (length, coding, validators, cache rules) are dropped;
// all others, such as a Retry-After set before, stay.
func Write(w http.ResponseWriter, status int, slug, title, detail string) {
	body := Body(status, slug, title, detail)
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the reader is gone if this fails, and there is nobody else to tell
}
