package router_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/seed-95a32959/holdfast/router"
)

// A router in front of two members. In a cluster Lookup asks the ring.
func Example() {
	member := func(name string) (router.Target, *httptest.Server) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s has the session of %s", name, r.Header.Get("Holdfast-Key"))
		}))
		return router.Target{Name: name, Boot: "1", HTTP: server.Listener.Addr().String()}, server
	}
	owner, ownerServer := member("node-1")
	successor, successorServer := member("node-2")
	defer successorServer.Close()

	rt, err := router.New(router.Config{
		Lookup: func(key string) router.Route { return router.Route{Owner: owner, Successor: successor} },
		Any:    func() router.Target { return owner },
		Finder: &router.Finder{Secrets: [][]byte{[]byte("at least sixteen bytes")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	front := httptest.NewServer(rt) // or rt.Serve(listener), its own HTTP core
	defer front.Close()

	get := func() {
		r, _ := http.NewRequest("GET", front.URL+"/", nil) // it never fails
		r.Header.Set("X-User-ID", "alice")                 // believed, for it comes from loopback
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		fmt.Println(string(body))
	}
	get()
	ownerServer.Close() // the owner dies
	get()
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// node-1 has the session of alice
	// node-2 has the session of alice
}

// A user is named by the path of the session API, by the signed cookie, or by a
// header that a trusted proxy sets. Who has none of these gets a new id and the
// cookie for it.
func ExampleFinder_Find() {
	finder := &router.Finder{Secrets: [][]byte{[]byte("at least sixteen bytes")}}

	r := httptest.NewRequest("GET", "/v1/sessions/alice", nil)
	user, cookie := finder.Find(r)
	fmt.Println(user, cookie == nil)

	first := httptest.NewRequest("GET", "/", nil)
	made, cookie := finder.Find(first)

	next := httptest.NewRequest("GET", "/", nil)
	next.AddCookie(cookie)
	user, _ = finder.Find(next)
	fmt.Println(user == made)
	// Output:
	// alice true
	// true
}
