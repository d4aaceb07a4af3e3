package main

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"os"
	"time"
)

//go:embed pages
var files embed.FS

// pages has each page's template, which fills in what layout.html leaves open.
var pages = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	for _, name := range []string{"home", "login", "account", "mail"} {
		all[name] = template.Must(template.New("layout.html").ParseFS(files, "pages/layout.html", "pages/kill.html", "pages/"+name+".html"))
	}
	return all
}()

// page is what a template shows.
type page struct {
	Server    string // that answers
	Successor string // that has the copy, "" for none
	PID       int
	Pinned    bool
	Trail     trail
	To        string // mail address that the code goes to
	User      string // logged in as, "" for nobody
	Problem   string // one sentence
	Visits    []visit
	Letters   []letter
}

// page begins the answer: it adds what the visitor did to the trail.
func (a *app) page(w http.ResponseWriter, r *http.Request, key, what string) *page {
	p := &page{
		Server: a.server, Successor: a.successor(key), PID: os.Getpid(), Pinned: a.pinned,
		Trail: trailOf(r).add(w, what, a.server), To: "alice@example.org",
	}
	if to, err := readAddress(r.FormValue("to")); err == nil {
		p.To = to
	}
	return p
}

func (p *page) show(w http.ResponseWriter, status int, name string) {
	var body bytes.Buffer
	if err := pages[name].Execute(&body, p); err != nil {
		http.Error(w, "The page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // fails only when the visitor has left
}

// Query is the mail address as a query, which forms and links carry on: the
// page must know it also where the server does not know the visitor.
func (p *page) Query() string { return query(p.To) }

func query(to string) string { return "?" + url.Values{"to": {to}}.Encode() }

// Clock is the time of the visit as shown.
func (v visit) Clock() string { return clock(v.At) }

// Clock is the time of the letter as shown.
func (l letter) Clock() string { return clock(l.At) }

// Number is the number of the server that answered the visit.
func (v visit) Number() string { return step{Server: v.Server}.Number() }

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

// Number is the number of the server that answers, by which it gets its colour.
func (p *page) Number() string { return step{Server: p.Server}.Number() }

func style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, files, "pages/style.css")
}
