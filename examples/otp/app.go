package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// app is the application on one server.
type app struct {
	server string // its name
	pinned bool   // asked by its node, for visitors who belong here
	memory memory
	mail   mailbox
	// visitor tells whose request it is: the key of what memory holds of them.
	visitor func(http.ResponseWriter, *http.Request) string
	// successor names the server that has the copy of a visitor, "" if none.
	successor func(key string) string
}

const (
	proofCookie = "otp_proof"
	plainCookie = "otp_session"
	mostForm    = 4 << 10 // bytes
)

func newApp(a app) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /code", a.askCode)
	mux.HandleFunc("GET /login", a.form)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("GET /account", a.account)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("GET /mail", a.letters)
	mux.HandleFunc("GET /style.css", style)
	return guard(a.server, http.NewCrossOriginProtection().Handler(mux))
}

// guard bounds what comes in and says what a page may do: nothing but show our
// own style and send our own forms.
func guard(server string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Server", server)
		r.Body = http.MaxBytesReader(w, r.Body, mostForm)
		next.ServeHTTP(w, r)
	})
}

// sessionCookie tells the visitor as applications without a router do: by a
// random id that it gives each browser.
func sessionCookie(w http.ResponseWriter, r *http.Request) string {
	if cookie, err := r.Cookie(plainCookie); err == nil && len(cookie.Value) == len(rand.Text()) {
		return cookie.Value
	}
	id := rand.Text()
	setCookie(w, plainCookie, id)
	return id
}

func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	key := a.visitor(w, r)
	v, err := a.memory.load(r.Context(), key)
	if err != nil {
		a.unavailable(w, r, err)
		return
	}
	p := a.page(w, r, key, "home")
	if v.loggedIn(proofOf(r)) {
		p.User = v.User
	}
	p.show(w, http.StatusOK, "home")
}

// askCode makes a one-time password, remembers it, and mails it: the first of
// the two requests of the story.
func (a *app) askCode(w http.ResponseWriter, r *http.Request) {
	key := a.visitor(w, r)
	to, err := readAddress(r.PostFormValue("to"))
	if err != nil {
		p := a.page(w, r, key, "home")
		p.Problem = "That did not look like a mail address: " + err.Error() + "."
		p.show(w, http.StatusUnprocessableEntity, "home")
		return
	}
	now := time.Now()
	c := newCode(to, a.server, now)
	if err := a.memory.change(r.Context(), key, func(v *visitor) error { v.Code = c; return nil }); err != nil {
		a.unavailable(w, r, err)
		return
	}
	if err := a.mail.send(r.Context(), letter{To: to, Digits: c.Digits, From: a.server, At: now}); err != nil {
		a.unavailable(w, r, err)
		return
	}
	trailOf(r).add(w, "code", a.server)
	http.Redirect(w, r, "/login"+query(to), http.StatusSeeOther)
}

func (a *app) form(w http.ResponseWriter, r *http.Request) {
	p := a.page(w, r, a.visitor(w, r), "form")
	p.show(w, http.StatusOK, "login")
}

// login checks what was typed against the code in memory: the second request.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	key := a.visitor(w, r)
	var wrong error
	var after visitor
	err := a.memory.change(r.Context(), key, func(v *visitor) error {
		wrong = v.enter(r.PostFormValue("digits"), time.Now())
		after = *v
		return nil
	})
	if err != nil {
		a.unavailable(w, r, err)
		return
	}
	if wrong != nil {
		p := a.page(w, r, key, "refused")
		p.Problem = a.whyRefused(wrong, after, p.Trail)
		p.show(w, http.StatusUnprocessableEntity, "login")
		return
	}
	setCookie(w, proofCookie, after.Proof)
	trailOf(r).add(w, "login", a.server)
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

// whyRefused tells in one sentence why a code was refused.
func (a *app) whyRefused(wrong error, v visitor, t trail) string {
	maker := t.last("code")
	switch {
	case errors.Is(wrong, errWrongCode):
		return fmt.Sprintf("That is not the code of the newest mail; you can try %d more times.", codeTries-v.Code.Tries)
	case errors.Is(wrong, errTooOften):
		return fmt.Sprintf("There were %d wrong tries, so this code is spent; ask for a new one.", codeTries)
	case !a.pinned && maker != "" && maker != a.server:
		return fmt.Sprintf("Your code was made by %s and is in the memory of %[1]s alone, but this request was answered by %s, which has never heard of it.", maker, a.server)
	default:
		return fmt.Sprintf("No code is waiting for you on %s: it has been used, or is older than %.0f minutes; ask for a new one.", a.server, codeLife.Minutes())
	}
}

// errNotLoggedIn gives up a change of the account page.
var errNotLoggedIn = errors.New("not logged in")

func (a *app) account(w http.ResponseWriter, r *http.Request) {
	key := a.visitor(w, r)
	var now visitor
	err := a.memory.change(r.Context(), key, func(v *visitor) error {
		if !v.loggedIn(proofOf(r)) {
			return errNotLoggedIn
		}
		v.visited(time.Now(), a.server)
		now = *v
		return nil
	})
	switch {
	case errors.Is(err, errNotLoggedIn):
		p := a.page(w, r, key, "turned")
		p.Problem = a.whyTurnedAway(p.Trail)
		p.show(w, http.StatusUnauthorized, "home")
	case err != nil:
		a.unavailable(w, r, err)
	default:
		p := a.page(w, r, key, "account")
		p.User, p.Visits = now.User, now.Visits
		p.show(w, http.StatusOK, "account")
	}
}

func (a *app) whyTurnedAway(t trail) string {
	if by := t.last("login"); !a.pinned && by != "" && by != a.server {
		return fmt.Sprintf("It was %s that logged you in and remembers it; this request was answered by %s, which does not know you.", by, a.server)
	}
	return "You are not logged in; ask for a code first."
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.memory.forget(r.Context(), a.visitor(w, r)); err != nil {
		a.unavailable(w, r, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: proofCookie, Path: "/", MaxAge: -1})
	trailOf(r).add(w, "logout", a.server)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// letters shows a mail box to every visitor: mail is not what this is about.
func (a *app) letters(w http.ResponseWriter, r *http.Request) {
	to, err := readAddress(r.FormValue("to"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	letters, err := a.mail.list(r.Context(), to)
	if err != nil {
		a.unavailable(w, r, err)
		return
	}
	p := a.page(w, r, a.visitor(w, r), "mail")
	p.Letters = letters
	p.show(w, http.StatusOK, "mail")
}

func (a *app) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "The session cannot be reached at the moment: "+err.Error(), http.StatusServiceUnavailable)
	}
}

func proofOf(r *http.Request) string {
	cookie, err := r.Cookie(proofCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}
