package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// action is one method of one place.
type action struct {
	method string
	serve  func(*exchange) error
}

// place is a kind of resource: what it answers to, in the order that Allow
// lists.
type place []action

// The places under /v1/. HEAD is served as GET, without the body.
var (
	collection = place{ // /v1/sessions
		{http.MethodPost, (*exchange).create},
	}
	oneSession = place{ // /v1/sessions/{id}
		{http.MethodGet, (*exchange).get},
		{http.MethodHead, (*exchange).get},
		{http.MethodPut, (*exchange).put},
		{http.MethodPatch, (*exchange).patch},
		{http.MethodDelete, (*exchange).delete},
	}
	touching = place{ // /v1/sessions/{id}/touch
		{http.MethodPost, (*exchange).touch},
	}
	rotation = place{ // /v1/sessions/{id}/rotate
		{http.MethodPost, (*exchange).rotate},
	}
	userSessions = place{ // /v1/users/{user}/sessions
		{http.MethodGet, (*exchange).list},
		{http.MethodHead, (*exchange).list},
		{http.MethodDelete, (*exchange).deleteAll},
	}
)

// route finds what the request asks for and leaves its key in e.key.
func (e *exchange) route() (serve func(*exchange) error, err error) {
	at, escaped := locate(e.r.URL.EscapedPath())
	if at == nil {
		return nil, unknownPath
	}
	if serve = at.serves(e.r.Method); serve == nil {
		e.w.Header().Set("Allow", at.allow())
		return nil, methodNotAllowed(e.r.Method, at.allow())
	}
	if at.keyed() {
		if e.key, err = readKey(escaped, e.MaxKey); err != nil {
			return nil, err
		}
	}
	return serve, nil
}

// locate splits an escaped path. Unescaping comes after the split, for an
// escaped slash belongs to the key.
func locate(path string) (at place, key string) {
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil, ""
	}
	part := strings.Split(rest, "/")
	switch {
	case len(part) == 1 && part[0] == "sessions":
		return collection, ""
	case len(part) == 2 && part[0] == "sessions":
		return oneSession, part[1]
	case len(part) == 3 && part[0] == "sessions" && part[2] == "touch":
		return touching, part[1]
	case len(part) == 3 && part[0] == "sessions" && part[2] == "rotate":
		return rotation, part[1]
	case len(part) == 3 && part[0] == "users" && part[2] == "sessions":
		return userSessions, part[1]
	}
	return nil, ""
}

// serves returns how the place answers to method, or nil.
func (p place) serves(method string) func(*exchange) error {
	for _, a := range p {
		if a.method == method {
			return a.serve
		}
	}
	return nil
}

// keyed says whether the place's path holds a key: all but the collection's.
func (p place) keyed() bool { return &p[0] != &collection[0] }

// allow is the place's Allow header.
func (p place) allow() string {
	names := make([]string, len(p))
	for i, a := range p {
		names[i] = a.method
	}
	return strings.Join(names, ", ")
}

// readKey unescapes and checks a key. Its refusals say where the key is wrong
// and do not repeat it.
func readKey(escaped string, limit int) (string, error) {
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return "", badKey("the key in the path has a broken percent escape")
	}
	if key == "" {
		return "", badKey("the key in the path is empty")
	}
	if len(key) > limit {
		return "", badKey(fmt.Sprintf("the key in the path has %d bytes; at most %d are accepted", len(key), limit))
	}
	for at, r := range key {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(key[at:]); size == 1 {
				return "", badKey(fmt.Sprintf("the key in the path is not UTF-8 at byte %d", at))
			}
		}
		if unicode.IsControl(r) {
			return "", badKey(fmt.Sprintf("the key in the path has a control character at byte %d", at))
		}
	}
	return key, nil
}
