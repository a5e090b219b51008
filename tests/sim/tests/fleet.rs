//! What a dashboard sees of a fleet whose gateway restarts.

#[path = "../examples/fleet.rs"]
mod fleet;

const SENSORS: usize = 200;

#[test]
fn the_dashboard_sees_every_sensor_before_and_after_the_restart() {
    let fleet = fleet::run(1, SENSORS);
    assert_eq!(fleet.sensors_seen(15.0, 30.0), SENSORS, "before");
    assert_eq!(fleet.sensors_seen(30.5, 40.0), 0, "while it is away");
    assert_eq!(fleet.sensors_seen(80.0, 100.0), SENSORS, "after");

    for sensor in 0..SENSORS as u32 {
        let numbers: Vec<u32> = fleet
            .seen
            .iter()
            .filter(|seen| seen.reading.sensor == sensor)
            .map(|seen| seen.reading.number)
            .collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "sensor {sensor}: {numbers:?}"
        );
        // What is missing is one gap: what was sent into the void until the silence was noticed.
        let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1);
        assert!(gaps.count() <= 1, "sensor {sensor}: {numbers:?}");
    }
}
