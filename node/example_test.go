package node_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/node"
)

// A web application that knows who is logged in. Run on several nodes (with
// Join and one Secret for all), any of them can be asked: the handler runs
// where its user's session is.
func ExampleNode_Handler() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s := holdfast.FromContext(r.Context())
		if err := s.Renew(); err != nil { // an id from before the login is worth nothing after it
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		if err := s.Set("user", r.FormValue("user")); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "welcome")
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := holdfast.Get[string](holdfast.FromContext(r.Context()), "user")
		switch {
		case err != nil:
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case !ok:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			fmt.Fprint(w, "hello ", user)
		}
	})

	n, err := node.Start(context.Background(), node.Config{
		Name: "a", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		Secret: []byte("at least sixteen bytes, the same on all nodes"), Handler: mux,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Shutdown(context.Background())
	server := httptest.NewServer(n.Handler(nil)) // or http.ListenAndServe(":80", n.Handler(nil))
	defer server.Close()

	jar, _ := cookiejar.New(nil) // it never fails
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	show := func(resp *http.Response, err error) {
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		fmt.Println(resp.StatusCode, string(body))
	}
	show(browser.Post(server.URL+"/login?user=alice", "", nil))
	show(browser.Get(server.URL + "/"))
	// Output:
	// 200 welcome
	// 200 hello alice
}
