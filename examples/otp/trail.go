package main

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// trail is which server answered each of the visitor's last requests. The
// browser keeps it, in a cookie, since it tells of the servers' memories and
// must not depend on them. It is shown, and nothing relies on it.
type trail []step

// step is one answered request.
type step struct {
	What   string // a key of stepNames
	Server string
}

var stepNames = map[string]string{
	"home": "opened the first page", "code": "asked for a code", "form": "opened the code page",
	"mail": "read the mail", "refused": "typed the code, refused", "login": "typed the code, logged in",
	"account": "opened the account", "turned": "asked for the account, refused", "logout": "logged out",
}

const (
	trailCookie = "otp_trail"
	mostSteps   = 8
)

var serverPattern = regexp.MustCompile(`^node-[0-9]$`)

// Name is the step in words.
func (s step) Name() string { return stepNames[s.What] }

// Number is the server's, by which it gets its colour.
func (s step) Number() string { return strings.TrimPrefix(s.Server, "node-") }

// trailOf reads the cookie and leaves out what no server here has written.
func trailOf(r *http.Request) trail {
	var t trail
	cookie, err := r.Cookie(trailCookie)
	if err != nil {
		return nil
	}
	for _, text := range strings.Split(cookie.Value, "~") {
		what, server, _ := strings.Cut(text, "@")
		if stepNames[what] != "" && serverPattern.MatchString(server) {
			t = append(t, step{what, server})
		}
	}
	return t.cut()
}

func (t trail) cut() trail { return t[max(0, len(t)-mostSteps):] }

// add adds a step and sends the trail back to the browser.
func (t trail) add(w http.ResponseWriter, what, server string) trail {
	t = append(t, step{what, server}).cut()
	var texts []string
	for _, s := range t {
		texts = append(texts, s.What+"@"+s.Server)
	}
	http.SetCookie(w, &http.Cookie{
		Name: trailCookie, Value: strings.Join(texts, "~"), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return t
}

// last names the server that answered the last such step, "" if none did.
func (t trail) last(what string) string {
	for _, s := range slices.Backward(t) {
		if s.What == what {
			return s.Server
		}
	}
	return ""
}

// Moved names the server that answered before, if another one answers now.
func (t trail) Moved() string {
	if n := len(t); n > 0 {
		for _, s := range slices.Backward(t[:n-1]) {
			if s.Server != t[n-1].Server {
				return s.Server
			}
		}
	}
	return ""
}
