package gorilla_test

import (
	"fmt"
	"log"
	"net/http"

	holdfastgorilla "github.com/seed-95a32959/holdfast/adapters/gorilla"
)

// login begins a session with the user in it.
func login(store *holdfastgorilla.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "login")
		// The cookie was not signed with one of the keys, or the cluster could
		// not be asked.
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		err = store.Renew(r, s) // an id from before the login is worth nothing after it
		if err == nil {
			s.Values["user"] = r.FormValue("user")
			err = s.Save(r, w)
		}
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "welcome")
	}
}

// logout ends it. A slower request that saves the session afterwards gets an
// error, and the user stays logged out.
func logout(store *holdfastgorilla.Store) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "login")
		if err == nil {
			s.Options.MaxAge = -1
			err = s.Save(r, w)
		}
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "good-bye")
	}
}

// A login and a logout. The store is made of a running node n and of the keys
// that sign cookies, the same on all nodes:
//
//	store := holdfastgorilla.New(n.Sessions(), keys)
func Example() {
	var store *holdfastgorilla.Store

	mux := http.NewServeMux()
	mux.Handle("POST /login", login(store))
	mux.Handle("POST /logout", logout(store))
	log.Fatal(http.ListenAndServe(":80", mux))
}
