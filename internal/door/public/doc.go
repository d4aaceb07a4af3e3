// Package public is the public HTTP endpoint of a member: the session API under
// /v1/, and the application for everything else. It is called after whom it
// serves, as a package "http" would hide net/http from those who import it.
//
// One request at a node, by its file: the guard turns away the pages of strange
// sites, and visitors whose cookie is of another session (guard.go). If another
// member has passed the request on, it proves that (hops.go, by what secrets.go
// holds), and says which attempt of an operation this is and until when it may
// be run (arrival.go). A request whose owner could not be reached waits until
// this member's view is without that owner (handler.go). Then package api makes
// an operation of it, which the member runs where the session's owner is; or
// the application gets it (package app).
//
// At a router each request goes through the code of package router at once. It
// asks owners.go who serves a key, and dials by tracker.go, which breaks the
// connections to members that have ended.
//
// What all this needs of the member is in [Config], and no more.
package public
