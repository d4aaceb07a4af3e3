// Package web holds the dashboard: the files that a browser loads from a
// member's admin address, as they are, with no step that builds them.
//
// What happens when the page is opened: index.html comes with the policy of the
// admin address, which lets it load nothing but /assets/ and ask nobody but
// that address. main.js asks GET /admin/cluster every second for the members
// and their figures, and GET /admin/ring whenever the ring's fingerprint has
// changed; GET /admin/events tells at once when there is something new. What it
// learns is one value, the state, and ring.js, members.js, figures.js, log.js
// and lookup.js each draw a part of it. Nothing is drawn from markup in a
// string: every text, also a member's name or a user's key, goes into the page
// as text.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed index.html assets
var files embed.FS

// Handler serves index.html at / and the files below /assets/. A browser keeps
// them, and asks by their tag whether they have changed.
func Handler() http.Handler {
	pages := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = "index.html"
		}
		p, ok := pages[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Etag", p.tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(p.content))
	})
}

// contentTypes are those of the files that there are. The system's own table
// differs from host to host.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

type page struct {
	content []byte
	tag     string // quoted, as in the header
}

func load() map[string]page {
	pages := make(map[string]page)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		sum := sha256.Sum256(content)
		pages[name] = page{content, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	if err != nil {
		// They are part of the program.
		panic("web: the embedded files cannot be read: " + err.Error())
	}
	return pages
}
