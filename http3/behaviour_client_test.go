package http3

var clientBehaviours = []behaviour{}
