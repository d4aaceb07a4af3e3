package holdfast_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"time"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/node"
)

// unavailable tells the client that the session could not be read or written.
func unavailable(w http.ResponseWriter) {
	http.Error(w, "try again", http.StatusServiceUnavailable)
}

// A shop. Its handlers read and write the session of the request that they
// answer; on several nodes, each request runs on the node that owns its user.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		s := holdfast.FromContext(r.Context())
		cart, _, err := holdfast.Get[[]string](s, "cart")
		if err == nil {
			cart = append(cart, r.FormValue("item"))
			err = s.Set("cart", cart) // written before the answer leaves
		}
		if err != nil {
			unavailable(w)
			return
		}
		fmt.Fprintln(w, "in the cart:", cart)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := holdfast.FromContext(r.Context()).Destroy(); err != nil {
			unavailable(w)
			return
		}
		fmt.Fprintln(w, "good-bye")
	})

	post, stop := serve(mux)
	defer stop()
	post("/cart?item=book")
	post("/cart?item=lamp")
	post("/logout")
	post("/cart?item=pen")
	// Output:
	// in the cart: [book]
	// in the cart: [book lamp]
	// good-bye
	// in the cart: [pen]
}

// At the login the session gets a new id, and a life of its own length.
func ExampleSession_Renew() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s := holdfast.FromContext(r.Context())
		before := s.ID()
		err := s.Set("user", r.FormValue("user"))
		if err == nil {
			err = s.Renew() // an id from before the login is worth nothing after it
		}
		if err == nil {
			err = s.Lifetime(time.Hour, 12*time.Hour) // an hour without a request, or twelve in all
		}
		if err != nil {
			unavailable(w)
			return
		}
		fmt.Fprintln(w, "another id:", s.ID() != before)
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		user, _, err := holdfast.Get[string](holdfast.FromContext(r.Context()), "user")
		if err != nil {
			unavailable(w)
			return
		}
		fmt.Fprintln(w, "hello", user)
	})

	post, stop := serve(mux)
	defer stop()
	post("/login?user=alice")
	post("/")
	// Output:
	// another id: true
	// hello alice
}

// serve runs a node with an application, and returns what a browser of its own
// does at it.
func serve(app http.Handler) (post func(path string), stop func()) {
	n, err := node.Start(context.Background(), node.Config{
		Name: "a", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		Secret: []byte("at least sixteen bytes, the same on all nodes"), Handler: app,
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(n.Handler(nil)) // or http.ListenAndServe(":80", n.Handler(nil))
	jar, _ := cookiejar.New(nil)                 // it never fails
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	post = func(path string) {
		resp, err := browser.Post(server.URL+path, "", nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		fmt.Print(string(body))
	}
	return post, func() {
		server.Close()
		_ = n.Shutdown(context.Background())
	}
}
