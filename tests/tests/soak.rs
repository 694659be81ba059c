//! The long runs of `--bin soak`, each for a few seconds. One test: what this process holds is looked at.

use end_to_end::soak;

#[test]
fn what_is_done_often_leaves_nothing_behind() {
    let day = soak::day(600, 1);
    assert!(day.users > 20 && day.log_ins > 100 && day.requests > 1000, "{day:?}");
    for trace in [soak::plugs(64, 8), soak::ceremonies(4000), day.trace] {
        assert_eq!(trace.is_flat(), Ok(()), "{trace:?}");
    }
    let figures = soak::credentials(2000);
    assert!(figures.file_bytes > 2000 * 100, "{figures:?}");
}
