//! Joins: who may, and what a new member gets.

use super::*;

#[test]
fn the_first_owner_sticks_and_may_join() {
    let mut bench = Bench::new(options());
    let owned = |owner: &str| Event { owner: Some(owner.into()), ..alert("1") };
    let denied = bench.join_as(conn(0, 1), "u@1", false, None, None);
    assert_eq!(bench.hub.stats().rooms, 0, "a denied join makes no room");
    bench.accept(owned("u%401")).unwrap();
    let foreign = bench.join_as(conn(0, 1), "u2", false, None, None);
    assert_eq!(denied, foreign, "ROM-03: missing and foreign are the same");
    assert_eq!(denied[0]["name"], "access_denied");
    assert_eq!(types(&bench.join_as(conn(0, 1), "u@1", false, None, None)), ["subscribed", "caught_up"]);
    assert_eq!(bench.accept(owned("u2")).unwrap_err().error, codes::OWNER_CONFLICT);
    assert!(bench.accept(alert("2")).is_ok(), "an event without an owner goes to the room all the same");
    assert_eq!((bench.hub.stats().join_denied, bench.hub.stats().joined, bench.hub.stats().refused), (2, 1, 1));
}

#[test]
fn a_position_is_resumed_in_full_while_the_history_reaches_back() {
    let mut bench = Bench::new(options());
    for n in 1..=6 {
        bench.accept(alert(&n.to_string())).unwrap();
    }
    let first = bench.join(conn(0, 1), None, None);
    let epoch = first[0]["epoch"].as_str().unwrap().to_owned();
    assert_eq!((&first[0]["from"]["alert"], &first[0]["seq"]["alert"]), (&7.into(), &6.into()));
    assert!(first[0].get("recovered").is_none());

    let resumed = bench.join(conn(0, 2), Some(since(&epoch, 2)), None);
    assert_eq!(types(&resumed), ["subscribed", "T", "T", "T", "T", "caught_up"]);
    assert_eq!((datas(&resumed), &resumed[0]["recovered"], &resumed[0]["from"]["alert"]), (vec![3, 4, 5, 6], &true.into(), &3.into()));

    let lost = bench.join(conn(0, 3), Some(since(&epoch, 1)), None);
    assert_eq!(types(&lost), ["subscribed", "gap", "T", "T", "T", "T", "caught_up"]);
    assert_eq!((&lost[0]["recovered"], &lost[0]["from"]["alert"]), (&false.into(), &2.into()));
    assert_eq!((&lost[1]["from"], &lost[1]["to"], &lost[1]["epoch"]), (&2.into(), &2.into(), &epoch.clone().into()));

    let beyond = bench.join(conn(0, 4), Some(since(&epoch, 9)), None);
    assert_eq!(
        (&beyond[0]["rewound"]["alert"], &beyond[0]["from"]["alert"], &beyond[0]["recovered"]),
        (&6.into(), &7.into(), &true.into())
    );
    let exact = bench.join(conn(0, 5), Some(since(&epoch, 6)), None);
    assert_eq!((types(&exact), &exact[0]["recovered"]), (vec!["subscribed", "caught_up"], &true.into()));
    assert!(exact[0].get("rewound").is_none());

    let other = bench.join(conn(0, 6), Some(since("other", 2)), None);
    assert_eq!(
        (types(&other)[1], &other[1]["to"], &other[1]["epoch"], &other[1]["from"]),
        ("gap", &Value::Null, &"other".into(), &3.into())
    );
    assert_eq!((datas(&other), &other[0]["recovered"]), (vec![3, 4, 5, 6], &false.into()));
    assert_eq!(bench.hub.stats().gaps, 2);
}

/// KAL-02, DLV-15.
#[test]
fn a_late_joiner_gets_the_types_history_or_what_it_asks_for() {
    let mut bench = Bench::new(options());
    for n in 1..=3 {
        bench.accept(Event { history: 2, ..alert(&n.to_string()) }).unwrap();
    }
    assert_eq!(datas(&bench.join(conn(0, 1), None, None)), [2, 3]);
    assert_eq!(datas(&bench.join(conn(0, 2), None, Some(1))), [3]);
    assert_eq!(datas(&bench.join(conn(0, 3), None, Some(0))), [] as [u64; 0]);
    assert_eq!(datas(&bench.join(conn(0, 4), None, Some(99))), [1, 2, 3]);
}

#[test]
fn what_a_lane_holds_comes_to_a_newcomer_once_when_it_is_let_go() {
    let mut bench = Bench::new(options());
    bench.accept(event(Mode::Stream, Lane::Metric, "1")).unwrap();
    bench.accept(state(Lane::Update, "2")).unwrap();
    bench.accept(state(Lane::Update, "3")).unwrap();
    let joined = bench.join(conn(0, 1), None, Some(10));
    assert_eq!(types(&joined), ["subscribed", "T", "caught_up"]);
    assert_eq!((datas(&joined), &joined[0]["from"]["metric"], &joined[0]["seq"]["metric"]), (vec![2], &1.into(), &0.into()));
    bench.pass(600);
    let mut live = datas(&bench.live(0));
    live.sort_unstable();
    assert_eq!(live, [1, 3]);
}

#[test]
fn a_snapshot_is_ok_states_caught_up() {
    let mut bench = Bench::new(options());
    bench.join(conn(1, 1), None, None);
    bench.accept(state(Lane::Update, "2")).unwrap();
    let room = bench.room();
    let snapshot = |room| Input::Snapshot { conn: conn(1, 1), request: Some(RequestId::from(9)), room, digest: false };
    bench.hub.apply(bench.now, snapshot(room), &mut bench.out);
    let Some((1, Output::Reply { frames, .. })) = bench.out.outputs.pop() else { panic!("a snapshot is answered") };
    assert_eq!((types(&texts(&frames)), &texts(&frames)[0]["id"]), (vec!["ok", "T", "caught_up"], &9.into()));
    assert_eq!(frames[2].tag.lane, Lane::Update, "caught_up goes in the lowest lane that replays");
    let gone = crate::base::ids::RoomId { slot: room.slot, generation: room.generation + 1 };
    bench.hub.apply(bench.now, snapshot(gone), &mut bench.out);
    let Some((1, Output::Reply { frames, .. })) = bench.out.outputs.pop() else { panic!("a snapshot is answered") };
    assert_eq!(texts(&frames)[0]["name"], "not_member");
}

/// A digest is of what members have: not of what the lane holds, nor of what was deleted; it comes behind all that was queued before, and not
/// while some of it is still owed to the member's reactor.
#[test]
fn a_digest_is_of_what_members_have() {
    let mut bench = Bench::new(options());
    bench.join(conn(1, 1), None, None);
    let room = bench.room();
    let digest = |bench: &mut Bench| {
        let ask = Input::Snapshot { conn: conn(1, 1), request: Some(RequestId::from(9)), room, digest: true };
        bench.hub.apply(bench.now, ask, &mut bench.out);
        let Some((1, Output::Reply { frames, .. })) = bench.out.outputs.pop() else { panic!("it is answered") };
        assert_eq!((frames.len(), frames[0].tag.room), (1, crate::base::ids::RoomId::NONE), "leaving the room does not cost the answer");
        (frames[0].tag.lane, texts(&frames).remove(0))
    };
    let expected = |keys: &[(&str, u64)]| {
        let mut digest = crate::wire::digest::StateDigest::default();
        for (key, rev) in keys {
            digest.add("T", key, *rev);
        }
        format!("{:016x}", digest.sum())
    };
    let keyed = |key: &str, data: &str| Event { key: key.into(), ..state(Lane::Update, data) };
    bench.accept(keyed("a", "1")).unwrap();
    bench.accept(keyed("b", "1")).unwrap();
    bench.accept(keyed("b", "2")).unwrap();
    let (lane, answer) = digest(&mut bench);
    assert_eq!((lane, &answer["type"], &answer["id"], &answer["keys"]), (Lane::Metric, &"ok".into(), &9.into(), &2.into()));
    assert_eq!((&answer["room"], answer["digest"].as_str().unwrap()), (&"r".into(), &*expected(&[("a", 1), ("b", 1)])));
    bench.pass(100);
    assert_eq!(digest(&mut bench).1["digest"].as_str().unwrap(), expected(&[("a", 1), ("b", 2)]));
    bench.accept(keyed("a", "null")).unwrap();
    bench.pass(100);
    assert_eq!((digest(&mut bench).1["digest"].as_str().unwrap(), &digest(&mut bench).1["keys"]), (&*expected(&[("b", 2)]), &1.into()));
    bench.out.free[1] = 0;
    bench.accept(keyed("b", "3")).unwrap();
    let (_, answer) = digest(&mut bench);
    assert_eq!((&answer["type"], &answer["name"], &answer["retry_after_ms"]), (&"error".into(), &"queue_full".into(), &100.into()));
}

/// What neither pattern nor owner allows is the authorizer's to allow, if there is one; and it is not asked for what they do.
#[test]
fn the_authorizer_is_asked_where_nothing_else_allows_a_join() {
    let mut bench = Bench::new(options());
    bench.accept(Event { owner: Some("u1".into()), ..alert("1") }).unwrap();
    let mut outcome = |user: &str, by_pattern, consent| {
        let (request, room, user) = (None, "r".into(), user.into());
        let join = Join {
            conn: conn(0, 1),
            request,
            room,
            user,
            by_pattern,
            consent,
            since: None,
            history: None,
            delta: false,
            poll: None,
            sample: None,
        };
        bench.hub.apply(bench.now, Input::Join(Box::new(join)), &mut bench.out);
        match bench.out.outputs.pop().expect("every join is answered").1 {
            Output::Joined(_) => "joined",
            Output::Unowned(join) if *join.room == *"r" && *join.user == *"u2" => "to be asked",
            Output::Reply { .. } => "denied",
            other => panic!("{other:?}"),
        }
    };
    let of = [("u1", false), ("u2", true), ("u2", false)];
    assert_eq!(of.map(|(user, by_pattern)| outcome(user, by_pattern, Consent::ToBeAsked)), ["joined", "joined", "to be asked"]);
    assert_eq!(of.map(|(user, by_pattern)| outcome(user, by_pattern, Consent::None)), ["joined", "joined", "denied"]);
    assert_eq!(outcome("u2", false, Consent::Given), "joined");
}

/// DESIGN 9: how much a reactor is given at a time is measured by the frames of answers; what goes to members live is none.
#[test]
fn answers_count_by_their_frames() {
    let mut bench = Bench::new(options());
    bench.accept(Event { history: 3, ..alert("1") }).unwrap();
    bench.accept(alert("2")).unwrap();
    let (room, conn) = (bench.room(), conn(0, 1));
    let join = Join {
        conn,
        request: None,
        room: "r".into(),
        user: "u1".into(),
        by_pattern: true,
        consent: Consent::None,
        since: None,
        history: None,
        delta: false,
        poll: None,
        sample: None,
    };
    bench.hub.apply(bench.now, Input::Join(Box::new(join)), &mut bench.out);
    bench.accept(alert("3")).unwrap();
    bench.hub.apply(bench.now, Input::Snapshot { conn, request: None, room, digest: false }, &mut bench.out);
    let counts: Vec<_> = bench.out.outputs.iter().map(|(_, output)| output.answer_frames()).collect();
    assert_eq!(counts, [4, 0, 2], "subscribed, two events, caught_up; an event; ok, caught_up");
    let frames = [b"1", b"2", b"3"].map(|text| Arc::new(Frame::reply(text))).to_vec();
    let id = ReplayId { slot: 0, generation: 0 };
    let replayed = Replayed { id, conn, room, frames, floor: None, is_done: true };
    assert_eq!(Output::Replayed(Box::new(replayed)).answer_frames(), 3);
}

/// CLI-08: what the operators' rooms are published for is who is there.
#[test]
fn members_of_the_operators_rooms_are_counted() {
    let mut bench = Bench::new(options());
    assert_eq!(bench.hub.stats().operators, [0, 0]);
    let (room, _) = bench.join_room("admin:health", "op", None, None);
    assert_eq!(bench.hub.stats().operators, [0, 1]);
    bench.hub.apply(bench.now, Input::Leave { room, conn: conn(0, 1), delta: false }, &mut bench.out);
    assert_eq!(bench.hub.stats().operators, [0, 0]);
}

/// OBS-27: what an operator is told of a room: where its lanes are, who is there, whose it is.
#[test]
fn a_room_is_told_as_it_is() {
    let mut bench = Bench::new(options());
    assert_eq!(bench.hub.inspect("u1", "r").told(), Value::Null);
    for data in 1..=6 {
        bench.accept(Event { owner: Some("u2".into()), ..alert(&data.to_string()) }).unwrap();
    }
    bench.accept(state(Lane::Update, "1")).unwrap();
    bench.join(conn(1, 1), None, None);
    let epoch = bench.hub.rooms.by_id(bench.room()).unwrap().epoch.name.to_string();
    let told = serde_json::json!({
        "epoch": epoch,
        "owner": "u2",
        "members": 1,
        "seq": { "alert": 6, "update": 0, "metric": 0 },
        "oldest_in_memory": { "alert": 3, "update": 1, "metric": 1 },
        "state_keys": 1,
    });
    assert_eq!(bench.hub.inspect("u1", "r").told(), told);
}
