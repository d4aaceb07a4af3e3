// Package public is the public HTTP endpoint of a member. It is called after
// whom it serves, the public, as "http" would hide net/http from those who
// import it.
package public
